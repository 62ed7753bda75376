"""Imports run downward: who may know whom, so that a variant stays a part and a config, and nothing else."""

import ast
from collections.abc import Callable, Iterator
from graphlib import CycleError, TopologicalSorter
from importlib.util import resolve_name
from pathlib import Path

import pytest

import dab_detr

ROOT = Path(dab_detr.__file__).parent

# What a module may import, by the longest of these names that it lies under; a name stands for all that lies under it,
# and with ".*" for that without itself.
MAY_IMPORT = {
    "compat": (),
    "download": (),
    "kinds": (),
    "lazy": (),
    "registration": ("modeling.backbone", "yacs"),
    "overrides": ("kinds",),
    "schema": ("defaults", "kinds"),
    "zoo": ("zoo",),
    "version": (),
    "yaml_file": (),
    # the parts of a model know what they are made of, never each other: no variant imports another
    "modeling": ("modeling.boxes", "modeling.layers", "modeling.part", "modeling.positional", "modeling.structures"),
    "modeling.structures": (),
    "modeling.boxes": (),
    "modeling.layers": ("modeling.boxes",),
    "modeling.part": (),
    "modeling.dot_product": ("modeling.flops",),
    "modeling.flops": (),
    "modeling.attention": ("modeling.dot_product", "modeling.part", "modeling.structures"),
    "modeling.positional": ("modeling.boxes", "modeling.layers", "modeling.part"),
    "modeling.onednn": (),
    "modeling.bag_sampling": ("modeling.boxes",),
    "modeling.deformable": (
        "modeling.bag_sampling",
        "modeling.boxes",
        "modeling.part",
        "modeling.structures",
        "modeling.triton_sampling",
    ),
    "modeling.triton_sampling": (),
    "modeling.residual": ("modeling.onednn",),
    "modeling.backbone": ("modeling.residual",),
    "modeling.simple_pyramid": (),
    # auxiliary heads know anchors; collaboration is given its heads
    "modeling.anchors": (),
    "modeling.atss": ("modeling.anchors", "modeling.boxes", "modeling.structures"),
    "modeling.regions": ("modeling.anchors", "modeling.boxes", "modeling.structures"),
    "modeling.pyramid": (),
    "modeling.collaboration": ("modeling.anchors", "modeling.boxes", "modeling.positional", "modeling.structures"),
    "modeling.mode": (),
    "modeling.precision": (),
    "modeling.recomputation": (),
    "modeling.optimization": ("modeling.heads", "modeling.onednn", "modeling.precision", "modeling.residual"),
    # given its parts: no attention, no prior, no queries
    "modeling.transformer": ("modeling.boxes", "modeling.layers", "modeling.structures"),
    "losses": ("compat", "losses", "modeling.boxes", "modeling.part", "modeling.structures"),
    "losses.batch": (),
    "losses.classification": ("losses.batch", "modeling.part"),
    "detector": (
        "losses.batch",
        "losses.criterion",
        "modeling.boxes",
        "modeling.combination",
        "modeling.part",
        "modeling.precision",
        "modeling.recomputation",
        "modeling.selection",
        "modeling.structures",
    ),
    # variants share nodes and builders, and do not know each other; the package knows them all
    "models": ("models",),
    "models.*": (
        "detector",
        "losses",
        "modeling",
        "models.backbones",
        "models.builders",
        "models.collaborating",
        "models.nodes",
    ),
    "models.backbones": ("modeling",),
    "models.collaborating": ("models.nodes",),
    "models.nodes": ("losses", "modeling", "models.builders"),
    "models.builders": ("modeling",),
    # the nodes of a training name its parts, but the engine is given nodes and knows no kind of config
    "defaults": ("data", "engine.optimizer", "evaluation.coco"),
    "yacs": ("yacs",),
    "yacs.keys": (),
    "yacs.model": ("modeling.backbone", "models", "overrides", "yacs.keys"),
    "yacs.translation": ("data", "defaults", "overrides", "yacs.keys", "yacs.model"),
    "config": ("defaults", "overrides", "schema", "yacs", "yaml_file"),
    "trainer": ("engine", "schema", "yacs"),
    "training": ("config", "engine", "inference", "visualization.curves"),
    "command": (),
    # work on files and arrays, whatever the model
    "checkpoint": (),
    "checkpoint.*": ("checkpoint.blocks", "checkpoint.rename"),  # a table for each source of weights
    "checkpoint.blocks": ("checkpoint.rename",),
    "checkpoint.rename": (),
    "checkpoint.formats": ("checkpoint",),
    "checkpoint.finite": (),
    "checkpoint.integrity": (),
    "checkpoint.reading": ("checkpoint.hub", "checkpoint.integrity"),
    "checkpoint.resumable": ("checkpoint.integrity",),
    "checkpoint.writing": (),
    "checkpoint.classes": (),
    "checkpoint.transformers_config": (),
    "checkpoint.conversion": (
        "checkpoint.classes",
        "checkpoint.fitting",
        "checkpoint.formats",
        "checkpoint.integrity",
        "checkpoint.transformers_config",
        "checkpoint.writing",
    ),
    "checkpoint.report": (),
    "checkpoint.fitting": ("checkpoint.classes", "checkpoint.report"),
    "checkpoint.family": ("checkpoint.blocks", "checkpoint.formats"),
    "checkpoint.checkpointer": (
        "checkpoint.description",
        "checkpoint.family",
        "checkpoint.finite",
        "checkpoint.fitting",
        "checkpoint.formats",
        "checkpoint.reading",
        "checkpoint.sources",
        "checkpoint.resumable",
        "checkpoint.writing",
    ),
    "checkpoint.description": ("checkpoint.reading", "checkpoint.sources", "version"),
    "checkpoint.hub": (),
    "checkpoint.sources": ("checkpoint.hub", "checkpoint.integrity", "checkpoint.writing", "download", "zoo.table"),
    "checkpoint.allow_list": (),
    "data": ("compat", "data", "download"),
    "doctor": ("data", "doctor"),
    # reads other formats: neither a model nor a framework
    "conversion": (
        "checkpoint.writing",
        "conversion",
        "data.content",
        "data.folders",
        "doctor.finding",
        "doctor.outlines",
    ),
    "evaluation": ("compat", "data", "evaluation", "losses.batch", "modeling.mode", "visualization"),
    "visualization": ("compat", "data", "modeling.mode", "visualization"),
    # reads what a training and its evaluations wrote
    "report": (
        "checkpoint.writing",
        "data",
        "modeling.mode",
        "modeling.optimization",
        "overrides",
        "report",
        "version",
        "visualization",
    ),
    "engine": (
        "checkpoint",
        "compat",
        "conversion",
        "data",
        "doctor",
        "download",
        "engine",
        "evaluation",
        "export.detector",
        "export.runtime",
        "losses.batch",
        "modeling.mode",
        "modeling.optimization",
        "report",
        "visualization",
        "zoo.table",
    ),
    "export": (
        "detector",
        "export",
        "modeling.deformable",
        "modeling.optimization",
        "modeling.part",
        "modeling.selection",
    ),
    "export.metadata": ("checkpoint.description",),
    "export.runtime": ("export.metadata",),
    "inference": (
        "checkpoint",
        "config",
        "data",
        "download",
        "engine",
        "export.detector",
        "export.runtime",
        "inference",
        "lazy",
        "modeling.optimization",
        "visualization",
        "zoo.table",
    ),
    "explanation": (
        "detector",
        "evaluation.box_eval",
        "explanation",
        "inference",
        "modeling.boxes",
        "modeling.positional",
        "modeling.recording",
        "modeling.structures",
        "visualization.html",
    ),
    # the public names
    "": (
        "detector",
        "engine.training",
        "explanation",
        "lazy",
        "modeling.optimization",
        "modeling.transformer",
        "registration",
        "training",
        "version",
        "yacs",
    ),
}

OUTSIDE = {"benchmarks", "configs", "tests", "tools", "train_net"}  # of the package; they import it


def sources() -> dict[str, str]:
    """{name below dab_detr, "" for the package itself: source} of every module, packages under their own name."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path.read_text()
    return found


def imports_of(module: str, source: str, modules: dict[str, str]) -> Iterator[str]:
    """All imports, inside functions too: names below dab_detr, others as "/numpy"."""
    is_package = any(under(name, module) for name in modules if name != module) or not module
    package = f"dab_detr.{module}".rstrip(".") if is_package else f"dab_detr.{module}".rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = resolve_name("." * node.level + (node.module or ""), package)
            names = [f"{base}.{alias.name}" if submodule(base, alias.name, modules) else base for alias in node.names]
        else:
            continue
        for name in names:
            own = name == "dab_detr" or name.startswith("dab_detr.")
            yield name[len("dab_detr.") :] if own else f"/{name}"


def submodule(base: str, name: str, modules: dict[str, str]) -> bool:
    return f"{base}.{name}".removeprefix("dab_detr.") in modules and base.split(".")[0] == "dab_detr"


def under(name: str, top: str) -> bool:
    return name == top or (top != "" and name.startswith(f"{top}."))


def governs(rule: str, module: str) -> bool:
    top = rule.removesuffix(".*")
    return under(module, top) and (top == rule or module != top)


def complaints(modules: dict[str, str]) -> list[str]:
    """What in the imports of these modules goes against the rules."""
    found = []
    for module, source in modules.items():
        rules = [rule for rule in MAY_IMPORT if governs(rule, module)]
        if not rules:
            found.append(f"{module} has no rule in MAY_IMPORT: say what it may import")
            continue
        allowed = MAY_IMPORT[max(rules, key=len)]
        for name in imports_of(module, source, modules):
            if name.startswith("/"):
                if name[1:].split(".")[0] in OUTSIDE:
                    found.append(f"{module} imports {name[1:]}, which is above the package")
            elif not any(under(name, top) for top in allowed):
                found.append(f"{module} imports {name}, and may import {', '.join(allowed) or 'nothing'}")
    return found


def test_imports_run_downward():
    assert complaints(sources()) == []


def circle(modules: dict[str, str], *, of: Callable[[str], str] = str) -> list[str]:
    """A circle among the imports of what `of` makes of modules, if there is one."""
    graph: dict[str, set[str]] = {}
    for module, source in modules.items():
        targets = {of(name) for name in imports_of(module, source, modules) if not name.startswith("/")}
        graph.setdefault(of(module), set()).update(targets - {of(module)})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return []


def folder(module: str) -> str:
    return module.partition(".")[0]


def test_no_module_reaches_itself_through_its_imports():
    assert circle(sources()) == []


def test_no_folder_reaches_itself_through_others():
    assert circle(sources(), of=folder) == []


@pytest.mark.parametrize(
    "module, line",
    [
        ("data.content", "from ..visualization import curves"),
        ("data.content", "def f():\n    from ..engine import loop"),
        ("engine.setup", "from ..config import load"),
        ("detector", "def f():\n    from . import models"),
    ],
)
def test_a_circle_of_folders_is_seen(module, line):
    modules = sources()
    modules[module] += f"\n{line}\n"
    assert folder(module) in circle(modules, of=folder)


@pytest.mark.parametrize(
    "module, line, complaint",
    [
        ("modeling.priors", "from .attention import CrossAttention", "modeling.priors imports modeling.attention"),
        ("modeling.priors", "from . import attention", "modeling.priors imports modeling.attention"),
        ("modeling.queries", "import dab_detr.modeling.priors", "modeling.queries imports modeling.priors"),
        (
            "modeling.transformer",
            "def f():\n    from .queries import x",
            "modeling.transformer imports modeling.queries",
        ),
        ("modeling.row_column", "from .attention import attend", "modeling.row_column imports modeling.attention"),
        ("modeling.deformable", "from . import row_column", "modeling.deformable imports modeling.row_column"),
        ("modeling.proposals", "from .queries import per_image", "modeling.proposals imports modeling.queries"),
        ("modeling.denoising", "from .proposals import take", "modeling.denoising imports modeling.proposals"),
        ("modeling.collaboration", "from .atss import x", "modeling.collaboration imports modeling.atss"),
        ("modeling.atss", "from .regions import x", "modeling.atss imports modeling.regions"),
        ("modeling.combination", "from . import denoising", "modeling.combination imports modeling.denoising"),
        ("modeling.boxes", "from dab_detr.modeling import structures", "modeling.boxes imports modeling.structures"),
        ("losses.matcher", "from ..modeling.layers import MLP", "losses.matcher imports modeling.layers"),
        ("losses", "from ..modeling import layers", "losses imports modeling.layers"),
        ("detector", "from .config import load", "detector imports config"),
        ("detector", "class A:\n    def f(self):\n        from . import models", "detector imports models"),
        ("detector", "from .modeling.denoising import Denoising", "detector imports modeling.denoising"),
        ("models.dab", "from .multi_scale import deformable_prior", "models.dab imports models.multi_scale"),
        ("models.dab", "from . import baselines", "models.dab imports models.baselines"),
        ("models.novel", "from .dab import dab_detr", "models.novel imports models.dab"),
        ("models.nodes", "from .dab import dab_detr", "models.nodes imports models.dab"),
        ("models.builders", "from ..losses import matcher", "models.builders imports losses.matcher"),
        ("checkpoint.transformers", "from .original import x", "checkpoint.transformers imports checkpoint.original"),
        ("checkpoint.original", "from . import formats", "checkpoint.original imports checkpoint.formats"),
        ("checkpoint.novel", "from . import original", "checkpoint.novel imports checkpoint.original"),
        ("checkpoint.rename", "from ..modeling import boxes", "checkpoint.rename imports modeling.boxes"),
        ("data.coco", "from .. import modeling", "data.coco imports modeling"),
        ("data.annotations", "from ..doctor import finding", "data.annotations imports doctor.finding"),
        ("conversion.yolo", "from ..data import coco", "conversion.yolo imports data.coco"),
        ("data.coco", "from .. import conversion", "data.coco imports conversion"),
        ("engine.setup", "import train_net", "engine.setup imports train_net"),
        ("engine.recipe", "from ..inference import recipe", "engine.recipe imports inference.recipe"),
        ("report.write", "from ..engine import setup", "report.write imports engine.setup"),
        ("data.summary", "from .. import report", "data.summary imports report"),
        ("models", "if True:\n    from configs.common import x", "models imports configs.common"),
        ("", "from .models import dab_detr", " imports models"),
        ("novelty.part", "import torch", "novelty.part has no rule"),
    ],
)
def test_the_guard_sees_every_kind_of_import(module, line, complaint):
    modules = sources()
    modules[module] = f"{modules.get(module, '')}\n{line}\n"
    (found,) = complaints(modules)
    assert found.startswith(complaint)
