"""Encoder and decoder. Both receive built layers; the layers and the prior decide which member of the family it is."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .boxes import anchor_logits, move_anchors
from .layers import FeedForward, init_xavier
from .structures import ABSENT, Memory, Position, Prediction, Queries


class EncoderLayer(nn.Module):
    """Self-attention over the memory, then a feed-forward network, with a norm after each residual."""

    def __init__(self, *, attention: nn.Module, ffn: FeedForward, dim: int, dropout: float = 0.0):
        super().__init__()
        self.attention, self.ffn = attention, ffn
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, memory: Memory, centers: Tensor | None) -> Tensor:
        """New content (B, S, C) of the memory, whose cells attend as queries from their centers (B, S, 2)."""
        position = Position(embed=memory.position, spatial=memory.position, anchors=centers)
        content = self.norm1(memory.content + self.dropout(self.attention(memory.content, position, memory)))
        return self.norm2(content + self.dropout(self.ffn(content)))


class Encoder(nn.Module):
    """Layers over the memory. They change its content and keep its position.

    xavier: whether all matrices start Xavier-uniform, as in all members except Anchor DETR; otherwise they keep the
        weights from their layers.
    """

    def __init__(self, *, layers: Sequence[EncoderLayer], xavier: bool = True):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        init_xavier(self, matrices=xavier)

    def forward(self, memory: Memory, centers: Tensor | None = None) -> Memory:
        content = memory.content
        for layer in self.layers:
            content = layer(self.layer_input(replace(memory, content=content)), centers)
        return replace(memory, content=content)

    def layer_input(self, memory: Memory) -> Memory:
        """The memory that the next layer receives."""
        return memory


class ScaledEncoder(Encoder):
    """DAB-DETR's encoder: the content scales the position that its layers receive.

    position_scale: (B, S, C) content to (B, S, C) factors, shared by the layers.
    """

    def __init__(self, *, layers: Sequence[EncoderLayer], position_scale: nn.Module):
        super().__init__(layers=layers)
        self.position_scale = position_scale
        init_xavier(self)

    def layer_input(self, memory: Memory) -> Memory:
        return replace(memory, position=memory.position * self.position_scale(memory.content))


class DeformableEncoder(Encoder):
    """Deformable DETR's encoder: cells sample around their own centers."""

    def forward(self, memory: Memory) -> Memory:
        return super().forward(memory, memory.centers())


class DecoderLayer(nn.Module):
    """Self-attention among queries, cross-attention to the memory, then a feed-forward network, each with a norm."""

    def __init__(
        self,
        *,
        self_attention: nn.Module,
        cross_attention: nn.Module,
        ffn: FeedForward,
        dim: int,
        dropout: float = 0.0,
    ):
        super().__init__()
        self.self_attention, self.cross_attention, self.ffn = self_attention, cross_attention, ffn
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(dim) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(self, queries: Queries, position: Position, memory: Memory) -> Tensor:
        """New content (B, Q, C) of the queries."""
        content = queries.content
        content = self.norm1(content + self.dropout(self.self_attention(content, position, queries.blocked)))
        content = self.norm2(content + self.dropout(self.cross_attention(content, position, memory)))
        return self.norm3(content + self.dropout(self.ffn(content)))


class FixedAnchors:
    """Every layer starts from the anchors of the first: the paper's ablation "no anchor update"."""

    def __call__(self, refined: Callable[[], Tensor], anchors: Tensor) -> tuple[Tensor, Tensor]:
        return anchors, anchors


class RefinedAnchors:
    """The next layer starts from this layer's boxes (Fig. 3 of the paper), and its loss flows back into them.

    Its anchors for attention are detached; the reference of its boxes is not. Points stay points: only the columns
    that the anchors have are kept.
    """

    def __call__(self, refined: Callable[[], Tensor], anchors: Tensor) -> tuple[Tensor, Tensor]:
        reference = refined()[..., : anchors.shape[-1]]
        return reference.detach(), reference


class DetachedAnchors:
    """Deformable DETR's refinement: the next layer starts from this layer's boxes, and no loss flows back.

    Points become boxes after the first layer.
    """

    def __call__(self, refined: Callable[[], Tensor], anchors: Tensor) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            reference = refined()
        return reference, reference


class Decoder(nn.Module):
    """Layers over the queries. Each layer looks where its anchors are, and the heads predict after each.

    layers: the decoder layers, first to last.
    prior: (queries, memory, layer) to the Position with which that layer attends.
    norm: normalizes the content for the heads; the next layer receives the raw content.
    class_heads, box_heads: one shared by all layers, or one for each layer. A box head runs twice: on the raw content
        to refine the anchors, and on the normalized content to predict.
    refinement: `RefinedAnchors`, `DetachedAnchors` or `FixedAnchors`. It takes a function that returns this layer's
        boxes, and this layer's anchors. It returns the anchors of the next layer, and the reference of its boxes.
    eps: see `boxes.inverse_sigmoid`.
    xavier: whether all matrices of layers and prior start Xavier-uniform, see `Encoder`.
    """

    def __init__(
        self,
        *,
        layers: Sequence[DecoderLayer],
        prior: nn.Module,
        norm: nn.Module,
        class_heads: Sequence[nn.Module],
        box_heads: Sequence[nn.Module],
        refinement: FixedAnchors | RefinedAnchors | DetachedAnchors,
        eps: float,
        xavier: bool = True,
    ):
        super().__init__()
        for name, heads in (("class_heads", class_heads), ("box_heads", box_heads)):
            if len(heads) not in (1, len(layers)):
                raise ValueError(f"{name} must have 1 entry or one per layer ({len(layers)}), got {len(heads)}")
        self.layers, self.prior, self.norm = nn.ModuleList(layers), prior, norm
        init_xavier(self, matrices=xavier)
        self.class_heads, self.box_heads = nn.ModuleList(class_heads), nn.ModuleList(box_heads)
        self.refinement, self.eps = refinement, eps

    def forward(self, queries: Queries, memory: Memory) -> Prediction:
        reference = queries.anchors
        contents, references = [], []
        for i, layer in enumerate(self.layers):
            if i > 0:
                anchors, reference = self.refine(queries, i - 1)
                queries = replace(queries, anchors=anchors)
            position = self.prior(queries, memory, i)
            queries = replace(queries, content=layer(queries, position, memory))
            contents.append(queries.content)
            references.append(anchor_logits(reference, self.eps))
        hidden = self.norm(torch.stack(contents))
        return split_noised(
            queries,
            logits=apply_heads(self.class_heads, hidden),
            boxes=move_anchors(apply_heads(self.box_heads, hidden), torch.stack(references)),
        )

    def refine(self, queries: Queries, layer: int) -> tuple[Tensor, Tensor]:
        """Anchors (B, Q, D) and reference (B, Q, D) for the layer after `layer`."""
        head = self.box_heads[layer % len(self.box_heads)]
        return self.refinement(
            lambda: move_anchors(head(queries.content), anchor_logits(queries.anchors, self.eps)), queries.anchors
        )


def apply_heads(heads: nn.ModuleList, hidden: Tensor) -> Tensor:
    """(L, B, Q, C) to (L, B, Q, out): one head for all layers, or each layer's own."""
    if len(heads) == 1:
        return heads[0](hidden)
    return torch.stack([head(x) for head, x in zip(heads, hidden, strict=True)])


def split_noised(queries: Queries, logits: Tensor, boxes: Tensor) -> Prediction:
    """Split outputs into those of the denoising queries, which come first, and of the matching queries. Empty queries
    predict no object."""
    if queries.empty is not None:
        empty = F.pad(queries.empty, (logits.shape[2] - queries.empty.shape[1], 0))
        logits = logits.masked_fill(empty[..., None], ABSENT)
    if queries.noised is None:
        return Prediction(logits=logits, boxes=boxes, proposals=queries.proposals)
    slots = queries.noised.weight.shape[1]
    return Prediction(
        logits=logits[:, :, slots:],
        boxes=boxes[:, :, slots:],
        proposals=queries.proposals,
        denoised=(Prediction(logits[:, :, :slots], boxes[:, :, :slots]), queries.noised),
    )
