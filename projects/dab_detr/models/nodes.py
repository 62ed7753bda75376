"""Nodes that the members of the family share."""

from collections.abc import Mapping, Sequence

from detectron2.config import LazyCall as L
from omegaconf import DictConfig
from torch import nn

from ..losses.classification import FocalLoss
from ..losses.criterion import SetCriterion
from ..losses.matcher import HungarianMatcher
from ..modeling.atss import ATSSHead
from ..modeling.collaboration import Collaboration
from ..modeling.denoising import ContrastiveDenoising, Denoising, NoDenoising
from ..modeling.heads import BoxHead, ClassHead
from ..modeling.neck import MultiScaleNeck, SingleScaleNeck
from ..modeling.positional import PositionMap
from ..modeling.pyramid import MemoryPyramid
from ..modeling.queries import AnchorBoxQueries
from ..modeling.regions import RegionHead
from ..modeling.selection import Selection, TopPairs
from .builders import box_heads, class_heads

# settings of every detector for its images, precision and memory
DETECTOR = {
    "pixel_mean": [123.675, 116.28, 103.53],
    "pixel_std": [58.395, 57.12, 57.375],
    "input_format": "RGB",
    "precision": "fp32",
    "activation_checkpointing": [],
}


def position_node(temperature: float, offset: float = 0.0) -> DictConfig:
    """The sine encoding of cells, with one temperature for both axes."""
    return L(PositionMap)(dim="${..dim}", temperature_x=temperature, temperature_y=temperature, offset=offset)


def single_scale_node(temperature: float) -> DictConfig:
    """The last map of a ResNet with bottlenecks."""
    return L(SingleScaleNeck)(feature="res5", in_channels=2048, dim=256, position=position_node(temperature))


def multi_scale_node(
    maps: tuple[str, ...] = ("res3", "res4", "res5"), temperature: float = 10000.0, offset: float = -0.5
) -> DictConfig:
    """Maps of a ResNet with bottlenecks, and one coarser map."""
    channels = {"res2": 256, "res3": 512, "res4": 1024, "res5": 2048}
    return L(MultiScaleNeck)(
        in_channels={name: channels[name] for name in maps},
        num_levels=len(maps) + 1,
        dim=256,
        position=position_node(temperature, offset),
        level_embed=True,
        exact_padding=False,
    )


def anchor_queries_node(**options) -> DictConfig:
    """300 anchor boxes. Options: learned_content, num_patterns and fixed_xy of the queries."""
    return L(AnchorBoxQueries)(
        num_queries=300, dim="${..neck.dim}", anchor_dim=4, uniform_xy=False, from_boxes=False, **options
    )


def encoder_node(build, *, hidden: int, dropout: float, activation: type[nn.Module] = nn.ReLU, **options) -> DictConfig:
    """Six encoder layers with eight heads, by one of the functions in `builders`."""
    return L(build)(
        num_layers=6,
        dim="${..neck.dim}",
        heads=8,
        hidden=hidden,
        dropout=dropout,
        activation=L(activation)(),
        **options,
    )


def layers_node(build, **options) -> DictConfig:
    """Six decoder layers with the widths of the encoder, by one of the functions in `builders`."""
    same = {name: f"${{...encoder.{name}}}" for name in ("heads", "hidden", "dropout", "activation")}
    return L(build)(num_layers=6, dim="${...neck.dim}", **same, **options)


def heads_nodes(*, shared_classes: bool = True, shared_boxes: bool = True, size_bias: float = 0.0) -> dict:
    """Class and box heads of a decoder."""
    common = {"dim": "${...neck.dim}", "num_layers": "${..layers.num_layers}"}
    return {
        "class_heads": L(class_heads)(num_classes="${...num_classes}", shared=shared_classes, **common),
        "box_heads": L(box_heads)(shared=shared_boxes, size_bias=size_bias, **common),
    }


def denoising(*, groups: int, dim: int, content_dim: int, **options) -> Denoising | NoDenoising:
    """Denoising with this number of groups, or none for 0. Raises ValueError for queries of another width."""
    if groups:
        return Denoising(groups=groups, dim=dim, content_dim=content_dim, **options)
    if content_dim != dim:
        raise ValueError(f"without model.denoising.groups model.queries.dim must be {dim}, got {content_dim}")
    return NoDenoising()


def denoising_node(anchor_dim: int | str = "${oc.select:..queries.anchor_dim,4}") -> DictConfig:
    """Denoising, off by default; `model.denoising.groups=5` switches it on.

    anchor_dim: 0 for queries without anchors. The default is that of the queries' node, or 4 if it has none.
    """
    return L(denoising)(
        groups=0,
        dim="${..neck.dim}",
        content_dim="${oc.select:..queries.dim,${..neck.dim}}",
        anchor_dim=anchor_dim,
        num_classes="${..num_classes}",
        label_noise=0.2,
        box_noise=0.4,
        eps="${..decoder.eps}",
        see_padding=False,
    )


def contrastive(*, num_queries: int, **options) -> ContrastiveDenoising | NoDenoising:
    """Contrastive denoising with about `num_queries` positive queries, or none for 0."""
    return ContrastiveDenoising(num_queries=num_queries, **options) if num_queries else NoDenoising()


def contrastive_node(num_queries: int = 100) -> DictConfig:
    """Contrastive denoising; `model.denoising.num_queries=0` switches it off."""
    return L(contrastive)(
        num_queries=num_queries,
        dim="${..neck.dim}",
        anchor_dim="${oc.select:..queries.anchor_dim,4}",
        num_classes="${..num_classes}",
        label_noise=0.25,
        box_noise=1.0,
        eps="${..decoder.eps}",
        groups_of_batch=False,
        see_padding=False,
    )


def proposal_node(queries, *, class_agnostic: bool = False, dense: bool = False, size: float = 0.05) -> DictConfig:
    """300 two-stage queries of one kind, with the encoder's own heads."""
    return L(queries)(
        num_queries=300,
        dim="${..neck.dim}",
        class_head=L(ClassHead)(dim="${..dim}", num_classes="${...num_classes}"),
        box_head=L(BoxHead)(dim="${..dim}"),
        class_agnostic=class_agnostic,
        dense=dense,
        size=size,
    )


AUXILIARY_HEADS = {"rcnn": RegionHead, "atss": ATSSHead}


def collaboration(
    *,
    heads: Sequence[str],
    dim: int,
    num_classes: int,
    stride: int,
    num_levels: int,
    finer: int,
    coarser: int,
    anchor_dim: int,
    weight: float,
    num_layers: int,
    rcnn: Mapping,
    atss: Mapping,
    **options,
) -> Collaboration | None:
    """Collaborative training with heads of these names, or None for no names. rcnn, atss: options of the heads."""
    if not heads:
        return None
    if unknown := [name for name in heads if name not in AUXILIARY_HEADS]:
        raise ValueError(f"model.collaboration.heads may have {list(AUXILIARY_HEADS)}, got {unknown}")
    if not anchor_dim:
        raise ValueError(
            "model.collaboration.heads needs model.queries with anchors: a learned position has no place for a sample"
        )
    if stride % 2**finer:
        raise ValueError(f"model.collaboration.finer={finer} halves the stride {stride} of the memory too often")
    strides = [stride // 2**finer * 2**i for i in range(finer + num_levels + coarser)]
    common, own = {"dim": dim, "num_classes": num_classes, "strides": strides}, {"rcnn": rcnn, "atss": atss}
    return Collaboration(
        heads=[AUXILIARY_HEADS[name](**common, **own[name]) for name in heads],
        pyramid=MemoryPyramid(dim=dim, finer=finer, coarser=coarser),
        dim=dim,
        stride=stride,
        anchor_dim=anchor_dim,
        weight=weight * num_layers,
        **options,
    )


def selection_node(num_select: int | None = None, build: type[Selection] = TopPairs) -> DictConfig:
    """The best pairs, without soft-NMS; `model.selection.soft_nms=0.8` switches it on. num_select: of `TopPairs`."""
    number = {} if num_select is None else {"num_select": num_select}
    return L(build)(**number, soft_nms=None, num_keep=None)


def criterion_node(
    *, weight_class: float, classification=FocalLoss, cost_class: float = 2.0, eps: float = 0.0, **options
) -> DictConfig:
    """The criterion and its matcher. eps belongs to the GIoU: 1e-6 in DAB-DETR, 0 in the others."""
    return L(SetCriterion)(
        matcher=L(HungarianMatcher)(
            classification="${..classification}", cost_class=cost_class, cost_bbox=5.0, cost_giou=2.0, eps="${..eps}"
        ),
        classification=L(classification)(),
        weight_class=weight_class,
        weight_bbox=5.0,
        weight_giou=2.0,
        auxiliary=True,
        eps=eps,
        **options,
    )
