"""Formats of boxes that are not COCO's x, y, width, height in pixels, and the boxes brought to it."""

from typing import NamedTuple

import numpy as np

from ..data.content import Content
from .finding import Severity

_SLACK = 0.01  # what rounding may leave beyond 0 and 1 in shares of an image
_SMALL_IMAGE = 8  # pixels a side; where it is less, a box of a pixel is no wonder
_CLEAR_SHARE = 0.1  # share of boxes in shares of their image from which no box of a corner's pixel is taken for one
_CORNERS = 10  # boxes from which they can clearly be corners,
_BEYOND = 0.25  # where so many, read as x, y, width, height, reach over the border
_BEYOND_BY = 0.05  # by so much of the image's side


class Format(NamedTuple):
    """Another format as which boxes can be read: its name, the boxes (M, 4) it is of, by a mask (N,), in COCO's."""

    name: str
    chosen: np.ndarray
    boxes: np.ndarray


def usable(content: Content) -> np.ndarray:
    """Which objects have numbers as box and a size of their image, (N,)."""
    return np.isfinite(content.boxes).all(axis=1) & np.isfinite(content.image_sizes).all(axis=1)


def normalised(content: Content) -> np.ndarray:
    """Which boxes look as if they were in shares of their image and not in pixels, (N,)."""
    boxes, sizes = content.boxes, content.image_sizes
    with np.errstate(invalid="ignore"):
        inside = ((boxes >= -_SLACK) & (boxes <= 1 + _SLACK)).all(axis=1)
        return inside & (boxes[:, 2:] > 0).all(axis=1) & (sizes >= _SMALL_IMAGE).all(axis=1)


def of_shares(content: Content) -> Format | None:
    """What the boxes are in shares of their image; None where it is unclear, or where they are too few to be sure."""
    chosen = normalised(content)
    if chosen.sum() < max(1, _CLEAR_SHARE * usable(content).sum()):
        return None
    first, second = np.split(content.boxes[chosen], 2, axis=1)
    ways = {"x, y, width, height": (first, second), "centre x, centre y, width, height": (first - second / 2, second)}
    ways["corners x1, y1, x2, y2"] = (first, second - first)
    fitting = {
        name: np.concatenate([low, size], axis=1)
        for name, (low, size) in ways.items()
        if (low >= -_SLACK).all() and (size > 0).all() and (low + size <= 1 + _SLACK).all()
    }
    name, boxes = next(iter(fitting.items()), ("", None))
    if boxes is None or not all(np.allclose(boxes, other) for other in fitting.values()):
        return None
    return Format(name, chosen, boxes * np.tile(content.image_sizes[chosen], 2))


def corners(content: Content) -> Severity | None:
    """Whether the boxes look like x1, y1, x2, y2: an error where that is clear, a warning where it may be."""
    chosen = usable(content) & ~normalised(content)
    boxes, sizes = content.boxes[chosen], content.image_sizes[chosen]
    ordered = (boxes[:, 2:] > boxes[:, :2]).all() and (boxes[:, 2:] <= sizes + 1).all() and (boxes[:, :2] >= -1).all()
    beyond = (boxes[:, :2] + boxes[:, 2:] > (1 + _BEYOND_BY) * sizes).any(axis=1)
    if not ordered or not beyond.any():
        return None
    return Severity.ERROR if len(boxes) >= _CORNERS and beyond.mean() >= _BEYOND else Severity.WARNING


def of_corners(content: Content) -> Format | None:
    """The boxes, where they are clearly corners in pixels."""
    if corners(content) is not Severity.ERROR:
        return None
    chosen = usable(content) & ~normalised(content)
    boxes = content.boxes[chosen]
    return Format("corners x1, y1, x2, y2", chosen, np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1))
