"""Anchor boxes of dense heads, in pixels: which cells have one, how deltas move it, and which object it belongs to.

Names: A anchors, N objects. Boxes are xyxy in pixels.
"""

import math
from collections.abc import Sequence

import torch
from detectron2.modeling.anchor_generator import DefaultAnchorGenerator
from torch import Tensor
from torchvision.ops import box_convert, box_iou

LARGEST_GROWTH = math.log(1000 / 16)  # the largest growth of a side, as a logarithm
TIE = 1e-5  # IoUs closer than this count as equal, because rounding decides between them


def anchor_grid(sizes: Sequence[Sequence[float]], ratios: Sequence[float], strides: Sequence[int]):
    """Detectron2's generator of anchors whose first cell has its center at (0, 0), as mmdetection has them.

    sizes: sides of the anchors of each level, as square roots of their areas. ratios: height over width.
    """
    return DefaultAnchorGenerator(sizes=sizes, aspect_ratios=[list(ratios)], strides=list(strides), offset=0.0)


def cells_inside(map_size: Sequence[int], stride: int, image_size: Sequence[int], device: torch.device) -> Tensor:
    """(h, w) bool, True where the first pixel of a cell lies inside the image. Sizes are (height, width)."""
    y, x = (
        torch.arange(cells, device=device) * stride < side for cells, side in zip(map_size, image_size, strict=True)
    )
    return y[:, None] & x


def encode_deltas(anchors: Tensor, boxes: Tensor) -> Tensor:
    """Deltas (A, 4) that move the anchors (A, 4) to the boxes (A, 4): dx and dy in sides, dw and dh as logarithms."""
    anchors, boxes = (box_convert(x, "xyxy", "cxcywh") for x in (anchors, boxes))
    return torch.cat([(boxes[:, :2] - anchors[:, :2]) / anchors[:, 2:], (boxes[:, 2:] / anchors[:, 2:]).log()], 1)


def decode_deltas(deltas: Tensor, anchors: Tensor) -> Tensor:
    """Boxes (..., A, 4) from deltas (..., A, 4) of anchors (A, 4). Detectron2's own works in fp32 only."""
    anchors = box_convert(anchors, "xyxy", "cxcywh")
    center = anchors[:, :2] + deltas[..., :2] * anchors[:, 2:]
    growth = deltas[..., 2:].clamp(-LARGEST_GROWTH, LARGEST_GROWTH)
    return box_convert(torch.cat([center, anchors[:, 2:] * growth.exp()], -1), "cxcywh", "xyxy")


def assign_atss(anchors: Tensor, counts: Sequence[int], boxes: Tensor, topk: int = 9) -> Tensor:
    """(A,) index of the object that each anchor belongs to, -1 for none: adaptive training sample selection (ATSS).

    For each object, the `topk` anchors of each level with the nearest centers are candidates. Those whose IoU reaches
    the mean plus the standard deviation of all candidates' IoU, and whose center lies inside the object, are its
    anchors. An anchor that several objects claim goes to the one with the highest IoU. Small objects may get none.

    anchors: (A, 4), level by level. counts: anchors of each level. boxes: (N, 4) of the objects.
    """
    if not len(boxes) or not len(anchors):
        return torch.full((len(anchors),), -1, device=anchors.device)
    overlap = box_iou(anchors, boxes)
    centers, object_centers = ((x[:, :2] + x[:, 2:]) / 2 for x in (anchors, boxes))
    distance = (centers[:, None] - object_centers).square().sum(-1).sqrt()
    first, nearest = 0, []
    for level in distance.split(list(counts)):
        nearest.append(first + level.topk(min(topk, len(level)), 0, largest=False).indices)
        first += len(level)
    candidates = torch.cat(nearest)
    candidate_overlap = overlap.gather(0, candidates)
    # the deviation of one candidate from itself is 0, not 0 / 0
    deviation = candidate_overlap.std(0, correction=min(1, len(candidates) - 1))
    candidate_centers = centers[candidates]
    margin = torch.cat([candidate_centers - boxes[:, :2], boxes[:, 2:] - candidate_centers], -1).amin(-1)
    positive = (candidate_overlap >= candidate_overlap.mean(0) + deviation) & (margin > 0.01)
    best = torch.full_like(overlap, -1.0).scatter(0, candidates, torch.where(positive, candidate_overlap, -1.0))
    best, objects = best.max(1)
    return objects.masked_fill(best < 0, -1)


def assign_max_iou(anchors: Tensor, boxes: Tensor, low: float, high: float, best_from: float | None = None) -> Tensor:
    """(A,) index of the object that each anchor belongs to, -1 for background, -2 for an anchor to ignore.

    An anchor belongs to the object with which its IoU is highest if that IoU is at least `high`, and to the background
    if it is below `low`.

    best_from: if given, an object also gets its best anchors, ties included, when their IoU is at least this number.
        If two objects claim the same anchor, the last one gets it. Detectron2's matcher has no such minimum, and leaves
        the anchor with the other object.
    """
    if not len(boxes):
        return torch.full((len(anchors),), -1, device=anchors.device)
    overlap = box_iou(anchors, boxes)
    best, objects = overlap.max(1)
    objects = torch.where(best >= high, objects, torch.where(best < low, -1, -2))
    if best_from is None or not len(anchors):
        return objects
    best = overlap.amax(0)
    own = (overlap >= best - TIE) & (best >= best_from)
    last = (own * torch.arange(1, len(boxes) + 1, device=own.device)).amax(1) - 1
    return torch.where(last >= 0, last, objects)


def sample(objects: Tensor, number: int, fraction: float, generator: torch.Generator | None) -> Tensor:
    """Indices of at most `number` of the anchors, at most `fraction` of them with an object, those first.

    objects: (A,) as `assign_max_iou` gives them; anchors with -2 are never drawn.
    """
    positive = draw((objects >= 0).nonzero()[:, 0], int(number * fraction), generator)
    return torch.cat([positive, draw((objects == -1).nonzero()[:, 0], number - len(positive), generator)])


def draw(x: Tensor, number: int, generator: torch.Generator | None) -> Tensor:
    """At most `number` rows of x, in their order. Drawn on the CPU, so a seed draws the same everywhere."""
    if len(x) <= number:
        return x
    return x[torch.randperm(len(x), generator=generator)[:number].sort().values.to(x.device)]
