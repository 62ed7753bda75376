"""Recognize boxes that are not in COCO's format (x, y, width, height in pixels), and convert them to it."""

from typing import NamedTuple

import numpy as np

from ..data.content import Content
from .finding import Severity

SLACK = 0.01  # how far rounding may move a fraction of the image beyond 0 and 1
SMALL_IMAGE = 8  # pixels per side; in smaller images a one-pixel box is plausible
CLEAR_SHARE = 0.1  # with a smaller share of normalized boxes, each may be a real box of one pixel in a corner
CORNERS = 10  # with fewer boxes, corners are never certain
BEYOND = 0.25  # corners are certain if this share of boxes, read as x, y, width, height, reach over the border
BEYOND_BY = 0.05  # by this fraction of the image's side


class Format(NamedTuple):
    """A box format other than COCO's: its name, which boxes have it (mask (N,)), and those boxes converted (M, 4)."""

    name: str
    chosen: np.ndarray
    boxes: np.ndarray


def usable(content: Content) -> np.ndarray:
    """Mask (N,) of the objects with a finite box and an image of known size."""
    return np.isfinite(content.boxes).all(axis=1) & np.isfinite(content.image_sizes).all(axis=1)


def looks_normalized(content: Content) -> np.ndarray:
    """Mask (N,) of the boxes that look like fractions of their image instead of pixels."""
    boxes, sizes = content.boxes, content.image_sizes
    with np.errstate(invalid="ignore"):
        inside = ((boxes >= -SLACK) & (boxes <= 1 + SLACK)).all(axis=1)
        return inside & (boxes[:, 2:] > 0).all(axis=1) & (sizes >= SMALL_IMAGE).all(axis=1)


def normalized_format(content: Content) -> Format | None:
    """The format of normalized boxes; None if it is unclear, or if they are too few to be sure."""
    chosen = looks_normalized(content)
    if chosen.sum() < max(1, CLEAR_SHARE * usable(content).sum()):
        return None
    first, second = np.split(content.boxes[chosen], 2, axis=1)
    ways = {"x, y, width, height": (first, second), "center x, center y, width, height": (first - second / 2, second)}
    ways["corners x1, y1, x2, y2"] = (first, second - first)
    fitting = {
        name: np.concatenate([low, size], axis=1)
        for name, (low, size) in ways.items()
        if (low >= -SLACK).all() and (size > 0).all() and (low + size <= 1 + SLACK).all()
    }
    name, boxes = next(iter(fitting.items()), ("", None))
    if boxes is None or not all(np.allclose(boxes, other) for other in fitting.values()):
        return None
    return Format(name, chosen, boxes * np.tile(content.image_sizes[chosen], 2))


def corner_severity(content: Content) -> Severity | None:
    """The severity of boxes that look like x1, y1, x2, y2: an error if it is certain, a warning if it is possible."""
    chosen = usable(content) & ~looks_normalized(content)
    boxes, sizes = content.boxes[chosen], content.image_sizes[chosen]
    with np.errstate(over="ignore"):
        ordered = (boxes[:, 2:] > boxes[:, :2]).all() and (boxes[:, :2] >= -1).all()
        ordered = ordered and (boxes[:, 2:] <= sizes + 1).all()
        beyond = (boxes[:, :2] + boxes[:, 2:] > (1 + BEYOND_BY) * sizes).any(axis=1)
    if not ordered or not beyond.any():
        return None
    return Severity.ERROR if len(boxes) >= CORNERS and beyond.mean() >= BEYOND else Severity.WARNING


def corner_format(content: Content) -> Format | None:
    """The boxes converted from corners in pixels, if they certainly are corners."""
    if corner_severity(content) is not Severity.ERROR:
        return None
    chosen = usable(content) & ~looks_normalized(content)
    boxes = content.boxes[chosen]
    sizes = boxes[:, 2:] - boxes[:, :2]
    return Format("corners x1, y1, x2, y2", chosen, np.concatenate([boxes[:, :2], sizes], axis=1))
