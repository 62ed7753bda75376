"""What an import and a command line cost: nothing of torch until something of it is used."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

import dab_detr.inference

ROOT = Path(__file__).resolve().parents[1]
HEAVY = ["torch", "torchvision", "detectron2", "matplotlib", "scipy", "hydra", "numpy", "transformers", "timm"]
FOUND = f"print([x for x in {HEAVY} if x in sys.modules])"


def output_of(code: str, *path: Path) -> str:
    """What a new Python prints."""
    return run(code, *path).stdout


def error_of(code: str) -> str:
    """What a new Python and its libraries say to stderr."""
    return run(code).stderr


def run(code: str, *path: Path) -> subprocess.CompletedProcess:
    places = [*map(str, path), str(ROOT), str(ROOT / "projects"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(places)}
    return subprocess.run([sys.executable, "-c", code], check=True, text=True, capture_output=True, env=environment)


def test_an_import_and_help_import_nothing_heavy():
    code = "import sys, dab_detr, dab_detr.inference\nfrom tools import predict\ntry: predict.parse(['--help'])\n"
    out = output_of(f"{code}except SystemExit: {FOUND}")
    assert "--checkpoint" in out and out.endswith("[]\n")


TOOLS = ["train_net.py", *(str(x.relative_to(ROOT)) for x in sorted(ROOT.glob("tools/*.py")) if x.stem != "__init__")]


def test_libraries_say_nothing_while_tools_are_imported():
    code = "import sys; sys.argv = ['x', '--help']\nimport train_net\n"
    code += "".join(f"import {x.removesuffix('.py').replace('/', '.')}\n" for x in TOOLS)
    assert error_of(f"{code}try: train_net.main()\nexcept SystemExit: pass") == ""


@pytest.mark.parametrize("tool", TOOLS)
def test_what_libraries_say_is_silenced_before_they_are_imported(tool):
    """`dab_detr.command` does it, and comes after them in the order of imports."""
    imports = [x for x in ast.parse((ROOT / tool).read_text()).body if isinstance(x, ast.Import | ast.ImportFrom)]
    names = [x.module if isinstance(x, ast.ImportFrom) else x.names[0].name for x in imports]
    assert {"detectron2", "fvcore"}.isdisjoint(x.split(".")[0] for x in names)
    own = [x for x in names if x.startswith("dab_detr.")]
    assert "dab_detr.command" in own[:1] or "dab_detr" in names[: names.index(own[0])]


@pytest.mark.parametrize("first", ["dab_detr", "detectron2.modeling"])
def test_names_are_registered_whichever_package_is_imported_first(first, tmp_path):
    """A stand-in for Detectron2 is imported faster."""
    folder = tmp_path / "detectron2/modeling"
    folder.mkdir(parents=True)
    (tmp_path / "detectron2/__init__.py").touch()
    registries = "META_ARCH_REGISTRY, BACKBONE_REGISTRY = Registry('META_ARCH'), Registry('BACKBONE')"
    (folder / "__init__.py").write_text(f"from fvcore.common.registry import Registry\n{registries}\n")
    code = f"import {first}, dab_detr, sys\nfrom detectron2.modeling import *\n"
    code += "print('DABDETR' in META_ARCH_REGISTRY, 'build_dab_detr_resnet_backbone' in BACKBONE_REGISTRY)\n"
    assert output_of(f"{code}print('torch' in sys.modules)", tmp_path) == "True True\nFalse\n"


def test_without_detectron2_the_import_says_where_it_is():
    code = (
        "import sys\nsys.modules['detectron2'] = None\ntry: import dab_detr\nexcept ImportError as error: print(error)"
    )
    assert "https://detectron2.readthedocs.io" in output_of(code)


@pytest.mark.parametrize("package", [dab_detr, dab_detr.inference])
def test_every_public_name_is_there(package):
    assert all(getattr(package, name) for name in package.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        _ = package.nothing
