"""The names that a config inside a checkpoint may build: those on this list, and those that the user allows.

Such a config is data from the author of the file, and Detectron2's `instantiate` calls everything that it names. A name
is allowed as it stands, in full. Prefixes would not be safe: they would also allow everything that our modules import.
Nothing on the list runs code or opens files, and nothing calls its arguments except as parts of the network.
"""

import re
from collections.abc import Collection, Iterator, Mapping

PARTS = {
    "dab_detr": ["DABDETR", "FixedAnchors", "RefinedAnchors"],
    "dab_detr.losses.classification": ["FocalLoss", "QualityFocalLoss", "SoftmaxLoss"],
    "dab_detr.losses.criterion": ["SetCriterion"],
    "dab_detr.losses.matcher": ["HungarianMatcher"],
    "dab_detr.modeling.backbone": ["TimmBackbone", "resnet"],
    "dab_detr.modeling.heads": ["BoxHead", "ClassHead", "PlainBoxHead", "SoftmaxClassHead"],
    "dab_detr.modeling.neck": ["MultiScaleNeck", "SingleScaleNeck"],
    "dab_detr.modeling.positional": ["PositionMap", "RowColumnMap"],
    "dab_detr.modeling.simple_pyramid": ["SimplePyramid"],
    "dab_detr.modeling.priors": ["AnchorPointPrior", "AnchorPrior", "NoScale", "StaticPrior"],
    "dab_detr.modeling.proposals": [
        "EncodedProposalQueries",
        "MemoryProposalQueries",
        "MixedEncodedProposalQueries",
        "MixedProposalQueries",
        "ProposalQueries",
    ],
    "dab_detr.modeling.queries": ["AnchorBoxQueries", "AnchorPointQueries", "LearnedQueries"],
    "dab_detr.modeling.selection": ["BestClasses", "TopPairs"],
    "dab_detr.modeling.transformer": ["Decoder", "DetachedAnchors"],
    "dab_detr.models.baselines": ["conditional_prior", "mlp"],
    "dab_detr.models.dab": ["anchor_prior"],
    "dab_detr.models.multi_scale": ["deformable_prior", "point_head"],
    "dab_detr.models.builders": [
        "box_heads",
        "class_heads",
        "conditional_layers",
        "deformable_encoder",
        "deformable_layers",
        "plain_encoder",
        "plain_layers",
        "row_column_encoder",
        "row_column_layers",
        "scaled_encoder",
    ],
    "dab_detr.models.nodes": ["collaboration", "contrastive", "denoising"],
    "dab_detr.yacs": ["yacs_backbone"],
    "detectron2.data.transforms": ["Resize", "ResizeShortestEdge"],
    "detectron2.modeling": ["FPN", "MViT", "ResNet", "SimpleFeaturePyramid", "SwinTransformer", "ViT"],
    "detectron2.modeling.backbone": ["BasicStem"],
    "detectron2.modeling.backbone.fpn": ["LastLevelMaxPool", "LastLevelP6P7"],
    "detectron2.modeling.backbone.resnet": ["ResNet.make_default_stages"],
    "torch.nn": ["GELU", "GroupNorm", "Identity", "LayerNorm", "LeakyReLU", "PReLU", "ReLU", "SiLU"],
}
ALLOWED = {f"{module}.{name}" for module, names in PARTS.items() for name in names}

# modules that had another name when older checkpoints were written
RENAMED = {
    "dab_detr.models.deformable": "dab_detr.models.multi_scale",
    "dab_detr.models.layers": "dab_detr.models.builders",
}

# keys of a stored LazyConfig whose nodes are built for a prediction
BUILT = ("model", "dataloader.test.mapper.augmentations")

# some names and options make timm fetch networks and weights from other places
TIMM = "dab_detr.modeling.backbone.TimmBackbone"
TIMM_ARGUMENTS = {"_target_", "name", "out_features", "pretrained", "drop_path_rate"}

# ${..neck.dim}, or ${oc.select:..queries.dim,${..neck.dim}}: another key of the config, or a default
REFERENCE = re.compile(r"\$\{\.*[\w.]+\}|\$\{oc\.select:\.*[\w.]+,(\w+|\$\{\.*[\w.]+\})\}")


def current_names(node: object) -> object:
    """The same plain config, with the current names of modules that have been renamed."""
    if isinstance(node, dict):
        return {name: renamed(x) if name == "_target_" else current_names(x) for name, x in node.items()}
    return [current_names(x) for x in node] if isinstance(node, list) else node


def renamed(target: object) -> object:
    """The current name of a target from an earlier version; anything else unchanged."""
    if not isinstance(target, str):
        return current_names(target)
    module, _, name = target.rpartition(".")
    return f"{RENAMED[module]}.{name}" if module in RENAMED else target


def refused_targets(config: Mapping, allow: Collection[str] = ()) -> list[str]:
    """The names in a checkpoint's LazyConfig that may not be built, each once, in their order.

    allow: further names that may be built.
    """
    names = dict.fromkeys(name for path in BUILT for name in targets(inside(config, path)))
    return [x for x in names if renamed(x) not in ALLOWED and x not in allow]


def inside(config: object, path: str) -> object:
    """The value of plain data under a dotted path, or None."""
    for key in path.split("."):
        config = config.get(key) if isinstance(config, Mapping) else None
    return config


def targets(node: object) -> Iterator[str]:
    """Every name under `_target_` in plain data."""
    if isinstance(node, Mapping):
        if isinstance(node.get("_target_"), str):
            yield node["_target_"]
        node = list(node.values())
    for inner in node if isinstance(node, list) else ():
        yield from targets(inner)


def check_config(node: object, key: str = "config", allow: Collection[str] = ()) -> None:
    """Raise ValueError for a `_target_` anywhere in `node` that is not allowed, and for an interpolation.

    node: plain data. A target may also be a class or function, which only code can have put there.
    allow: names that may be built besides those on the list.
    """
    if isinstance(node, dict):
        if "_target_" in node:
            check_target(node, key, allow)
        for name, inner in node.items():
            check_config(inner, f"{key}.{name}", allow)
    elif isinstance(node, (list, tuple)):
        for i, inner in enumerate(node):
            check_config(inner, f"{key}.{i}", allow)
    elif isinstance(node, str) and "${" in node:
        raise ValueError(f"refused: {key} in the checkpoint is {node!r}; interpolations are not followed")


def check_references(node: object, key: str) -> None:
    """Raise ValueError for an interpolation that reads anything but other keys of the same node.

    node: plain data, in which parts refer to each other.
    """
    if isinstance(node, Mapping):
        for name, inner in node.items():
            check_references(inner, f"{key}.{name}")
    elif isinstance(node, (list, tuple)):
        for i, inner in enumerate(node):
            check_references(inner, f"{key}.{i}")
    elif isinstance(node, str) and "${" in REFERENCE.sub("", node):
        raise ValueError(f"refused: {key} in the checkpoint is {node!r}; interpolations are not followed")


def check_target(node: dict, key: str, allow: Collection[str] = ()) -> None:
    """Raise ValueError if `node` may not be built."""
    target = node["_target_"]
    if callable(target):
        return
    if not isinstance(target, str) or target not in ALLOWED and target not in allow:
        raise ValueError(
            f"refused: {key} in the checkpoint names {target!r}, which is not in the list of what may be built from "
            f"a checkpoint. If it is code of your own, name it: {way_to_allow([target])}"
        )
    if target == TIMM and not (set(node) <= TIMM_ARGUMENTS and re.fullmatch(r"[\w.]+", str(node.get("name")))):
        raise ValueError(
            f"refused: {key} in the checkpoint may give timm only a model's name and out_features, "
            f"and gives { ({k: v for k, v in node.items() if k != '_target_'}) }"
        )


def way_to_allow(names: Collection[str]) -> str:
    """Advice for the user: how to allow these names in Python and on the command line."""
    options = " ".join(f"--allow {name}" for name in names)
    return f"Predictor.from_checkpoint(path, allow={list(names)}), or predict.py {options}"
