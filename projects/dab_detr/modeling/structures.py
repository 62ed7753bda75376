"""The data between the parts of a detector: images as memory, objects as queries, and predictions.

Shapes: B images, S memory cells, Q queries, C channels, D anchor columns, L decoder layers, K classes, N objects.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

MATCHING, EMPTY = -1, -2  # in place of the number of a group of denoising queries
ABSENT = -50.0  # class logit of a query without any object: no loss, no gradient, no detection


@dataclass(frozen=True)
class Memory:
    """Feature maps for the transformer, together with their padding and positions.

    content: (B, S, C) features, row-major over each map, one level after the other.
    position: (B, S, C) embedding of the place of each cell.
    padding: (B, S) bool, True where the cell lies outside its image.
    shapes: (height, width) of each level.
    valid_ratios: (B, levels, 2) the part (x, y) of each map that is image.
    encode: points (B, Q, 2) to the embedding that `position` has for cells, for priors that share it.
    exact: whether an image must get the same answers alone and in a padded batch. Otherwise the parts read the padding
        as the released weights were trained.
    """

    content: Tensor
    position: Tensor
    padding: Tensor
    shapes: tuple[tuple[int, int], ...]
    valid_ratios: Tensor
    encode: Callable[[Tensor], Tensor]
    exact: bool = False

    def centers(self) -> Tensor:
        """(B, S, 2) center (x, y) of each cell, normalized by the part of its map that is image."""
        centers = []
        for (height, width), ratio in zip(self.shapes, self.valid_ratios.unbind(1), strict=True):
            y = (torch.arange(height, device=ratio.device).to(ratio) + 0.5) / height
            x = (torch.arange(width, device=ratio.device).to(ratio) + 0.5) / width
            grid = torch.stack([x.expand(height, -1), y[:, None].expand(-1, width)], -1)
            centers.append(grid.flatten(0, 1) / ratio[:, None])
        return torch.cat(centers, 1)


@dataclass(frozen=True)
class Noised:
    """Queries that know their answer without matching, P slots for each image: the noised copies of denoising.

    labels and boxes are the truth, not the noise. Only positive slots have them; the others are background.

    labels: (B, P) int64 class indices. boxes: (B, P, 4) cxcywh, normalized.
    positive: (B, P) bool, True where the slot has an object.
    weight: (B, P) how much the losses of a slot count; 0 where the slot is empty.
    """

    labels: Tensor
    boxes: Tensor
    positive: Tensor
    weight: Tensor

    @property
    def valid(self) -> Tensor:
        """(B, P) bool, True where the slot is not empty."""
        return self.weight > 0


@dataclass(frozen=True)
class Queries:
    """The input of the decoder and of each of its layers.

    content: (B, Q, C) the content part.
    anchors: (B, Q, D) the positional part, normalized to [0, 1]: cxcywh for D = 4, a point (x, y) for D = 2, no
        anchors for D = 0.
    embed: (B, Q, C) a learned position; None if anchors give the position.
    blocked: (Q, Q) or (B, 1, Q, Q) bool, True where query i (row) must not attend to query j.
    proposals: the encoder's prediction in two-stage detectors; otherwise None.
    noised: the denoising queries, which come first; None without them.
    empty: (B, Q) bool, True for matching queries that stand for nothing, because the image has too few cells.
    """

    content: Tensor
    anchors: Tensor
    embed: Tensor | None = None
    blocked: Tensor | None = None
    proposals: "Prediction | None" = None
    noised: Noised | None = None
    empty: Tensor | None = None


class Position(NamedTuple):
    """The positions of the queries for one decoder layer.

    embed: (B, Q, C) positional query, added to the content.
    spatial: (B, Q, C) spatial query of conditional cross-attention, concatenated to the content inside each head.
    anchors: (B, Q, D) the centers, or boxes, around which deformable attention samples.
    """

    embed: Tensor
    spatial: Tensor | None = None
    anchors: Tensor | None = None


@dataclass(frozen=True)
class Prediction:
    """The predictions of all decoder layers, the last layer last.

    logits: (L, B, Q, K).
    boxes: (L, B, Q, 4) cxcywh, normalized by the size of the image.
    proposals: the encoder's prediction, as one layer, in two-stage detectors.
    denoised: the prediction of the denoising queries, with their targets.
    heads: the answers of the auxiliary heads in collaborative training.
    """

    logits: Tensor
    boxes: Tensor
    proposals: "Prediction | None" = None
    denoised: "tuple[Prediction, Noised] | None" = None
    heads: "tuple[HeadAnswer, ...]" = ()


@dataclass(frozen=True)
class Look:
    """The view of n queries of one image in one attention, for `recording`.

    weights: attention weights, each row sums to 1: (heads, n, S) over memory cells or queries, 0 in the padding; for
        deformable attention (heads, n, levels * P) over its points.
    content, position, mixed: (heads, n, S) scaled products of content with content, position with position, and the
        rest. They sum to the scores before the softmax. None for attention that has no such parts.
    points: (heads, n, levels * P, 2) sampled points (x, y), normalized by the image; None if all cells are attended.
    values: (heads, S, c) the values that the weights multiply, before the output projection. For deformable
        attention, the values of all cells of the memory.
    """

    weights: Tensor
    values: Tensor
    content: Tensor | None = None
    position: Tensor | None = None
    mixed: Tensor | None = None
    points: Tensor | None = None


class Target(NamedTuple):
    """The objects of one image.

    labels: (N,) int64 class indices.
    boxes: (N, 4) cxcywh, normalized by the size of the image.
    seed: for the noise of denoising; None uses torch's global random numbers.
    """

    labels: Tensor
    boxes: Tensor
    seed: int | None = None


class Matches(NamedTuple):
    """Pairs of a query and an object: M = sum of min(Q, N) over images, in order of layer and image.

    query: three index tensors (L * M,), layer, image and query; they index logits and boxes (L, B, Q, ...).
    object: (L * M,) index into the objects of all images, concatenated.
    """

    query: tuple[Tensor, Tensor, Tensor]
    object: Tensor


def at_most(number: int, size: int) -> int:
    """The smaller of a number and the size of a tensor, without a branch: a captured graph computes it for each image.

    size: an int, the symbol of `torch.export`, or the tensor that `torch.jit.trace` gives.
    """
    return torch.as_tensor(number).minimum(size) if isinstance(size, Tensor) else torch.sym_min(number, size)


def blocked_between(group: Tensor) -> Tensor:
    """(B, 1, Q, Q) bool, True where the query of a row must not see the query of a column.

    All queries see themselves and the matching queries. Noised queries also see their own group. Nothing else is
    visible.

    group: (B, Q) the number of each query's group, `MATCHING` or `EMPTY`.
    """
    row, column = group[:, None, :, None], group[:, None, None]
    other = ~torch.eye(group.shape[1], dtype=torch.bool, device=group.device)
    return (column != MATCHING) & ((row != column) | (column == EMPTY)) & other


class Scene(NamedTuple):
    """One image and its objects in pixels, as auxiliary heads learn from them.

    size: (height, width). labels: (N,) int64. boxes: (N, 4) xyxy. seed: as in `Target`.
    """

    size: tuple[int, int]
    labels: Tensor
    boxes: Tensor
    seed: int | None

    def generator(self) -> torch.Generator | None:
        """Random numbers that follow from the image's seed; None for torch's own."""
        return None if self.seed is None else torch.Generator().manual_seed(self.seed)


class Samples(NamedTuple):
    """The S anchors or regions that an auxiliary head learned from in one image.

    losses: by name, pairs of a sum and its divisor, so that images can be combined.
    boxes: (S, 4) xyxy in pixels. objects: (S,) index of the object that each belongs to; negative for none.
    features: (S, C) what the head sees there.
    """

    losses: dict[str, tuple[Tensor, Tensor]]
    boxes: Tensor
    objects: Tensor
    features: Tensor


class HeadAnswer(NamedTuple):
    """The losses and samples of an auxiliary head.

    losses: each (B,) for the images, to be divided by what `shared_by` says: the "images" or "objects" of the batch.
    positives: the answers of the queries that were made from its samples, with their targets.
    """

    name: str
    losses: dict[str, Tensor]
    shared_by: str
    positives: "tuple[Prediction, Noised]"
