"""Nodes of collaborative training."""

from detectron2.config import LazyCall as L
from omegaconf import DictConfig

from .nodes import collaboration


def collaboration_node(
    *,
    stride: int,
    finer: int = 0,
    coarser: int = 1,
    anchor_dim: int | str = "${oc.select:..queries.anchor_dim,4}",
    learned_positions: bool = False,
    see_features: bool = False,
) -> DictConfig:
    """Collaborative training, switched off; `model.collaboration.heads=[atss]` or `[rcnn,atss]` switches it on.

    stride: of the memory's first level. anchor_dim: 0 for queries without anchors.
    """
    return L(collaboration)(
        heads=[],
        dim="${..neck.dim}",
        num_classes="${..num_classes}",
        stride=stride,
        num_levels="${oc.select:..neck.num_levels,1}",
        finer=finer,
        coarser=coarser,
        anchor_dim=anchor_dim,
        weight=2.0,
        num_layers="${..decoder.layers.num_layers}",
        learned_positions=learned_positions,
        see_features=see_features,
        most=300,
        as_original=False,
        rcnn={
            "hidden": 1024,
            "anchor_size": 4.0,
            "num_anchors": 256,
            "num_regions": 512,
            "proposals": [4000, 1000],
            "region_size": 224,
        },
        atss={"anchor_size": 8.0, "topk": 9},
    )


def single_scale_collaboration(dilated: bool, **options) -> DictConfig:
    """Collaborative training of a detector on the last map of a ResNet: its heads see strides 8 to 128."""
    finer, coarser, stride = (1, 3, 16) if dilated else (2, 2, 32)
    return collaboration_node(stride=stride, finer=finer, coarser=coarser, **options)
