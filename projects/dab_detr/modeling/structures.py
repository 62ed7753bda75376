"""What travels between the parts of a detector: images as memory, objects as queries, answers as predictions.

Shapes: B images, S memory cells, Q queries, C channels, D anchor columns, L decoder layers, K classes, N objects.
"""

from dataclasses import dataclass
from typing import NamedTuple

from torch import Tensor


@dataclass(frozen=True)
class Memory:
    """The feature map as the transformer sees it: one object, so that no mask is lost on the way.

    content: (B, S, C) features, row-major over the map.
    position: (B, S, C) sine embedding of where each cell is.
    padding: (B, S) bool, True where the cell lies outside its image.
    """

    content: Tensor
    position: Tensor
    padding: Tensor


@dataclass(frozen=True)
class Queries:
    """What the decoder starts from.

    content: (B, Q, C) the content part.
    anchors: (B, Q, D) the positional part, normalised to [0, 1]: cxcywh for D = 4, a point (x, y) for D = 2.
    """

    content: Tensor
    anchors: Tensor


class Position(NamedTuple):
    """Where a query looks, as one attention layer needs it.

    embed: (B, Q, C) positional query, added to the content.
    spatial: (B, Q, C) spatial query, concatenated to the content inside each head of conditional cross-attention.
    """

    embed: Tensor
    spatial: Tensor | None = None


@dataclass(frozen=True)
class Prediction:
    """The answers of all decoder layers, the last layer last.

    logits: (L, B, Q, K).
    boxes: (L, B, Q, 4) cxcywh, normalised by the size of the image.
    """

    logits: Tensor
    boxes: Tensor


class Target(NamedTuple):
    """The objects of one image.

    labels: (N,) int64 class indices.
    boxes: (N, 4) cxcywh, normalised by the size of the image.
    """

    labels: Tensor
    boxes: Tensor


class Matches(NamedTuple):
    """Which query answers for which object: M = sum of min(Q, N) over images, pairs in order of layer and image.

    query: three index tensors (L * M,), layer, image and query; they index logits and boxes (L, B, Q, ...).
    object: (L * M,) index into the objects of all images, concatenated.
    """

    query: tuple[Tensor, Tensor, Tensor]
    object: Tensor
