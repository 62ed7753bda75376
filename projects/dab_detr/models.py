"""The wiring of every published model, as lazy nodes for LazyConfig; the yacs config goes through the same.

A number stands in one place: the width of the transformer is `neck.dim`, the number of classes `num_classes`, the
kind of anchors `queries.anchor_dim`; all other parts interpolate them, so that one override changes them all.
"""

import copy

from detectron2.config import LazyCall as L
from omegaconf import DictConfig
from torch import nn

from .detector import DABDETR
from .losses.classification import FocalLoss
from .losses.criterion import SetCriterion
from .losses.matcher import HungarianMatcher
from .modeling.attention import (
    ConditionalCrossAttention,
    ConditionalSelfAttention,
    CrossAttention,
    PositionedCrossAttention,
)
from .modeling.backbone import resnet
from .modeling.heads import BoxHead, ClassHead
from .modeling.layers import MLP, FeedForward
from .modeling.neck import SingleScaleNeck
from .modeling.positional import PositionMap
from .modeling.priors import AnchorPrior, ContentScale, LayerScale, ModulatedAnchorPrior
from .modeling.queries import AnchorBoxQueries
from .modeling.transformer import (
    Decoder,
    DecoderLayer,
    Encoder,
    EncoderLayer,
    RefinedAnchors,
)


def dab_encoder(
    *, num_layers: int, dim: int, heads: int, hidden: int, dropout: float, activation: nn.Module
) -> Encoder:
    """DAB-DETR's encoder: plain self-attention, and a position scale that all layers share."""
    layers = [
        EncoderLayer(
            attention=CrossAttention(dim=dim, heads=heads, dropout=dropout),
            ffn=FeedForward(dim=dim, hidden=hidden, activation=copy.deepcopy(activation), dropout=dropout),
            dim=dim,
            dropout=dropout,
        )
        for _ in range(num_layers)
    ]
    return Encoder(layers=layers, position_scale=MLP(dim, dim, dim))


def conditional_layers(
    *,
    num_layers: int,
    dim: int,
    heads: int,
    hidden: int,
    dropout: float,
    activation: nn.Module,
    keep_query_pos: bool,
) -> list[DecoderLayer]:
    """Decoder layers with conditional attention; the first also adds positions, `keep_query_pos` does in all."""
    cross = [
        PositionedCrossAttention if i == 0 or keep_query_pos else ConditionalCrossAttention for i in range(num_layers)
    ]
    return [
        DecoderLayer(
            self_attention=ConditionalSelfAttention(dim=dim, heads=heads, dropout=dropout),
            cross_attention=attention(dim=dim, heads=heads, dropout=dropout),
            ffn=FeedForward(dim=dim, hidden=hidden, activation=copy.deepcopy(activation), dropout=dropout),
            dim=dim,
            dropout=dropout,
        )
        for attention in cross
    ]


def anchor_prior(
    *,
    dim: int,
    anchor_dim: int,
    num_layers: int,
    query_scale: str = "content",
    modulate: bool | None = None,
    temperature: float = 10000.0,
) -> AnchorPrior:
    """The prior of DAB-DETR and of its ablations.

    query_scale: "content" (one factor a channel from the content), "scalar" (one a query) or "layer" (learned for
        each layer): cond_elewise, cond_scalar and fix_elewise in the original.
    modulate: width and height modulation; None: wherever anchors have a size.
    """
    scales = {
        "content": lambda: ContentScale(dim=dim, out_dim=dim),
        "scalar": lambda: ContentScale(dim=dim, out_dim=1),
        "layer": lambda: LayerScale(num_layers=num_layers, dim=dim),
    }
    if query_scale not in scales:
        raise ValueError(f"model.decoder.prior.query_scale must be one of {list(scales)}, got {query_scale!r}")
    modulate = anchor_dim == 4 if modulate is None else modulate
    prior = ModulatedAnchorPrior if modulate else AnchorPrior
    return prior(dim=dim, anchor_dim=anchor_dim, scale=scales[query_scale](), temperature=temperature)


def box_heads(*, dim: int, num_layers: int, shared: bool = True) -> list[BoxHead]:
    """One box head for all layers, or one for each."""
    return [BoxHead(dim=dim) for _ in range(1 if shared else num_layers)]


def class_heads(*, dim: int, num_classes: int) -> list[ClassHead]:
    """One class head for all layers."""
    return [ClassHead(dim=dim, num_classes=num_classes)]


def set_criterion() -> DictConfig:
    """The node of the criterion and its matcher, with DAB-DETR's weights."""
    return L(SetCriterion)(
        matcher=L(HungarianMatcher)(
            classification="${..classification}",
            cost_class=2.0,
            cost_bbox=5.0,
            cost_giou=2.0,
            eps="${..eps}",
        ),
        classification=L(FocalLoss)(alpha=0.25, gamma=2.0),
        weight_class=1.0,
        weight_bbox=5.0,
        weight_giou=2.0,
        auxiliary=True,
        eps=1e-6,
    )


def anchor_decoder() -> DictConfig:
    """The node of DAB-DETR's decoder; its width, heads and activation are those of `neck` and `encoder`."""
    dim = "${...neck.dim}"
    return L(Decoder)(
        layers=L(conditional_layers)(
            num_layers=6,
            dim=dim,
            heads="${...encoder.heads}",
            hidden="${...encoder.hidden}",
            dropout="${...encoder.dropout}",
            activation="${...encoder.activation}",
            keep_query_pos=False,
        ),
        prior=L(anchor_prior)(
            dim=dim,
            anchor_dim="${...queries.anchor_dim}",
            num_layers="${..layers.num_layers}",
            query_scale="content",
            modulate=None,
            temperature=10000.0,
        ),
        norm=L(nn.LayerNorm)(normalized_shape=dim),
        class_heads=L(class_heads)(dim=dim, num_classes="${...num_classes}"),
        box_heads=L(box_heads)(dim=dim, num_layers="${..layers.num_layers}", shared=True),
        refinement=L(RefinedAnchors)(),
        eps=1e-3,
    )


def dab_detr(
    *,
    depth: int = 50,
    dilated: bool = False,
    num_patterns: int = 0,
    fixed_xy: bool = False,
    temperature: float = 20.0,
) -> DictConfig:
    """The node of DAB-DETR on a ResNet: 80 classes, 300 anchor boxes, 6 + 6 layers (Table 2 and 8 of the paper).

    dilated is DC5; temperature that of the position map, 10 in the released R50-DC5 without patterns, else 20.
    """
    return L(DABDETR)(
        backbone=L(resnet)(
            depth=depth,
            out_features=["res5"],
            dilated=dilated,
            freeze_at=2,
            norm="FrozenBN",
            width=64,
        ),
        neck=L(SingleScaleNeck)(
            feature="res5",
            in_channels=2048,
            dim=256,
            position=L(PositionMap)(
                dim="${..dim}",
                temperature_x=temperature,
                temperature_y=temperature,
                offset=0.0,
                eps=1e-6,
            ),
        ),
        encoder=L(dab_encoder)(
            num_layers=6,
            dim="${..neck.dim}",
            heads=8,
            hidden=2048,
            dropout=0.0,
            activation=L(nn.PReLU)(),
        ),
        queries=L(AnchorBoxQueries)(
            num_queries=300,
            dim="${..neck.dim}",
            anchor_dim=4,
            num_patterns=num_patterns,
            uniform_xy=False,
            fixed_xy=fixed_xy,
        ),
        decoder=anchor_decoder(),
        criterion=set_criterion(),
        num_classes=80,
        pixel_mean=[123.675, 116.28, 103.53],
        pixel_std=[58.395, 57.12, 57.375],
        num_select=300,
        input_format="RGB",
    )
