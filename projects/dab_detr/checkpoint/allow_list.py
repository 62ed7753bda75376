"""What a config that travels inside a checkpoint may build: names of this list and nothing else.

Such a config is data from whoever wrote the file, and Detectron2's `instantiate` calls whatever it names. A name is
allowed as it stands, in full: no prefix, so that nothing is reached through a module of ours that imports it. None of
these runs code, opens files or calls what it is given otherwise than as a part of the network.
"""

import re

PARTS = {
    "dab_detr": ["DABDETR", "FixedAnchors", "RefinedAnchors"],
    "dab_detr.losses.classification": ["FocalLoss", "SoftmaxLoss"],
    "dab_detr.losses.criterion": ["SetCriterion"],
    "dab_detr.losses.matcher": ["HungarianMatcher"],
    "dab_detr.modeling.backbone": ["TimmBackbone", "resnet"],
    "dab_detr.modeling.heads": ["BoxHead", "ClassHead", "PlainBoxHead", "SoftmaxClassHead"],
    "dab_detr.modeling.neck": ["MultiScaleNeck", "SingleScaleNeck"],
    "dab_detr.modeling.positional": ["PositionMap", "RowColumnMap"],
    "dab_detr.modeling.priors": ["AnchorPointPrior", "StaticPrior"],
    "dab_detr.modeling.proposals": ["EncodedProposalQueries", "ProposalQueries"],
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
    "dab_detr.models.nodes": ["denoising"],
    "detectron2.data.transforms": ["Resize", "ResizeShortestEdge"],
    "detectron2.modeling": ["FPN", "MViT", "ResNet", "SimpleFeaturePyramid", "SwinTransformer", "ViT"],
    "detectron2.modeling.backbone": ["BasicStem"],
    "detectron2.modeling.backbone.fpn": ["LastLevelMaxPool", "LastLevelP6P7"],
    "detectron2.modeling.backbone.resnet": ["ResNet.make_default_stages"],
    "torch.nn": ["GELU", "GroupNorm", "Identity", "LayerNorm", "LeakyReLU", "PReLU", "ReLU", "SiLU"],
}
ALLOWED = {f"{module}.{name}" for module, names in PARTS.items() for name in names}

# timm can fetch networks and weights from wherever its names and options say
TIMM = "dab_detr.modeling.backbone.TimmBackbone"
TIMM_ARGUMENTS = {"_target_", "name", "out_features", "pretrained"}


def check_config(node: object, key: str = "config") -> None:
    """Raises ValueError for a `_target_` anywhere in `node` that is not in the list, and for an interpolation.

    `node` is plain data, but that a target may be a class or function itself, which only code can have put there.
    """
    if isinstance(node, dict):
        if "_target_" in node:
            check_target(node, key)
        for name, inner in node.items():
            check_config(inner, f"{key}.{name}")
    elif isinstance(node, (list, tuple)):
        for i, inner in enumerate(node):
            check_config(inner, f"{key}.{i}")
    elif isinstance(node, str) and "${" in node:
        raise ValueError(f"refused: {key} in the checkpoint is {node!r}; interpolations are not followed")


def check_target(node: dict, key: str) -> None:
    """Raises ValueError where `node` may not be built."""
    target = node["_target_"]
    if callable(target):
        return
    if not isinstance(target, str) or target not in ALLOWED:
        raise ValueError(
            f"refused: {key} in the checkpoint names {target!r}, which is not in the list of what may be built from "
            "a checkpoint"
        )
    if target == TIMM and not (set(node) <= TIMM_ARGUMENTS and re.fullmatch(r"[\w.]+", str(node.get("name")))):
        raise ValueError(
            f"refused: {key} in the checkpoint may give timm one of its models' names and out_features, "
            f"and gives { ({k: v for k, v in node.items() if k != '_target_'}) }"
        )
