"""Builders that configs share: encoders, decoder layers and heads, from numbers."""

import copy
from collections.abc import Callable
from functools import partial

from torch import nn

from ..modeling.attention import (
    ConditionalCrossAttention,
    ConditionalSelfAttention,
    CrossAttention,
    PositionedCrossAttention,
    SelfAttention,
)
from ..modeling.deformable import DeformableAttention
from ..modeling.heads import BoxHead, ClassHead
from ..modeling.layers import MLP, FeedForward
from ..modeling.row_column import RowColumnAttention
from ..modeling.transformer import DecoderLayer, DeformableEncoder, Encoder, EncoderLayer, ScaledEncoder

Build = Callable[[], nn.Module]


def feed_forward(*, dim: int, hidden: int, dropout: float, activation: nn.Module) -> FeedForward:
    """A feed-forward network with its own copy of the activation, because PReLU has a weight."""
    return FeedForward(dim=dim, hidden=hidden, activation=copy.deepcopy(activation), dropout=dropout)


def encoder_layers(attention: Build, *, num_layers: int, dim: int, dropout: float, **ffn) -> list[EncoderLayer]:
    """`num_layers` encoder layers of the same form."""
    return [
        EncoderLayer(attention=attention(), ffn=feed_forward(dim=dim, dropout=dropout, **ffn), dim=dim, dropout=dropout)
        for _ in range(num_layers)
    ]


def decoder_layers(self_attention: Build, cross_attentions: list[Build], *, dim: int, dropout: float, **ffn):
    """One decoder layer for each of the cross-attentions."""
    return [
        DecoderLayer(
            self_attention=self_attention(),
            cross_attention=cross_attention(),
            ffn=feed_forward(dim=dim, dropout=dropout, **ffn),
            dim=dim,
            dropout=dropout,
        )
        for cross_attention in cross_attentions
    ]


def plain_encoder(*, dim: int, heads: int, dropout: float, **layers) -> Encoder:
    """DETR's encoder: attention with positions added. Further arguments: num_layers, hidden, activation."""
    attention = partial(CrossAttention, dim=dim, heads=heads, dropout=dropout)
    return Encoder(layers=encoder_layers(attention, dim=dim, dropout=dropout, **layers))


def scaled_encoder(*, dim: int, heads: int, dropout: float, **layers) -> ScaledEncoder:
    """DAB-DETR's encoder: DETR's, with a position scale that all layers share."""
    attention = partial(CrossAttention, dim=dim, heads=heads, dropout=dropout)
    layers = encoder_layers(attention, dim=dim, dropout=dropout, **layers)
    return ScaledEncoder(layers=layers, position_scale=MLP(dim, dim, dim))


def deformable_encoder(*, dim: int, heads: int, levels: int, points: int, **layers) -> DeformableEncoder:
    """Deformable DETR's encoder. Further arguments: num_layers, hidden, dropout, activation."""
    attention = partial(DeformableAttention, dim=dim, heads=heads, levels=levels, points=points)
    return DeformableEncoder(layers=encoder_layers(attention, dim=dim, **layers))


def row_column_encoder(*, dim: int, heads: int, **layers) -> Encoder:
    """Anchor DETR's encoder. Further arguments: num_layers, hidden, dropout, activation."""
    attention = partial(RowColumnAttention, dim=dim, heads=heads)
    return Encoder(layers=encoder_layers(attention, dim=dim, **layers), xavier=False)


def plain_layers(*, num_layers: int, dim: int, heads: int, dropout: float, **ffn) -> list[DecoderLayer]:
    """DETR's decoder layers: attention with positions added. Further arguments: hidden, activation."""
    attention = {"dim": dim, "heads": heads, "dropout": dropout}
    cross = [partial(CrossAttention, **attention)] * num_layers
    return decoder_layers(partial(SelfAttention, **attention), cross, dim=dim, dropout=dropout, **ffn)


def conditional_layers(
    *, num_layers: int, dim: int, heads: int, dropout: float, keep_query_pos: bool, **ffn
) -> list[DecoderLayer]:
    """Conditional DETR's and DAB-DETR's decoder layers. The first also adds positions in cross-attention; with
    `keep_query_pos` all do. Further arguments: hidden, activation."""
    attention = {"dim": dim, "heads": heads, "dropout": dropout}
    positioned = [i == 0 or keep_query_pos for i in range(num_layers)]
    cross = [partial(PositionedCrossAttention if x else ConditionalCrossAttention, **attention) for x in positioned]
    return decoder_layers(partial(ConditionalSelfAttention, **attention), cross, dim=dim, dropout=dropout, **ffn)


def deformable_layers(
    *, num_layers: int, dim: int, heads: int, levels: int, points: int, dropout: float, **ffn
) -> list[DecoderLayer]:
    """Deformable DETR's decoder layers: plain attention among queries, deformable attention to the memory. Further
    arguments: hidden, activation."""
    cross = [partial(DeformableAttention, dim=dim, heads=heads, levels=levels, points=points)] * num_layers
    self_attention = partial(SelfAttention, dim=dim, heads=heads, dropout=dropout)
    return decoder_layers(self_attention, cross, dim=dim, dropout=dropout, **ffn)


def row_column_layers(*, num_layers: int, dim: int, heads: int, dropout: float, **ffn) -> list[DecoderLayer]:
    """Anchor DETR's decoder layers. Further arguments: hidden, activation."""
    cross = [partial(RowColumnAttention, dim=dim, heads=heads)] * num_layers
    self_attention = partial(SelfAttention, dim=dim, heads=heads, dropout=dropout)
    return decoder_layers(self_attention, cross, dim=dim, dropout=dropout, **ffn)


def box_heads(*, dim: int, num_layers: int, shared: bool, size_bias: float = 0.0) -> list[BoxHead]:
    """One box head for all layers if `shared`, otherwise one for each. `size_bias` applies to the first head."""
    return [BoxHead(dim=dim, size_bias=0.0 if i else size_bias) for i in range(1 if shared else num_layers)]


def class_heads(*, dim: int, num_classes: int, num_layers: int, shared: bool) -> list[ClassHead]:
    """One class head for all layers if `shared`, otherwise one for each."""
    return [ClassHead(dim=dim, num_classes=num_classes) for _ in range(1 if shared else num_layers)]
