"""Boxes: their values, and how they lie in the images."""

from collections.abc import Iterator

import numpy as np

from .content import Content, is_box
from .finding import Finding, Severity

_ERROR, _WARNING = Severity.ERROR, Severity.WARNING
_TOLERANCE = 1.0  # pixels by which a box may reach over the border: what rounding does
_SUSPICIOUS = 0.1  # share of boxes beyond the border that corners taken for sizes leave at least


def check_boxes(content: Content) -> Iterator[Finding]:
    """What is wrong with the boxes of a file. Where all are of another format, nothing is said of single ones."""
    boxless = [content.place(x) for x in content.objects if not is_box(x.get("bbox"))]
    yield from Finding.counted(
        "no box", _ERROR, "annotations have no bbox [x, y, width, height] of numbers", boxless
    )  # fmt: skip
    stated = np.array([is_box(x.get("bbox")) for x in content.objects], dtype=bool)
    infinite = stated & ~np.isfinite(content.boxes).all(axis=1)
    yield from Finding.counted("box not finite", _ERROR, "boxes have NaN or infinite values", content.places(infinite))
    yield from (_are_normalised(content) or _are_corners(content) or _single_boxes(content))


def normalised(content: Content) -> bool:
    """Whether the boxes are in shares of the images, not in pixels."""
    boxes, sizes = _usable(content)
    return len(boxes) > 0 and bool((boxes <= 1).all() and (sizes > 2).all() and (boxes[:, 2:] > 0).any())


def corners(content: Content) -> bool:
    """Whether the boxes look like x1, y1, x2, y2: so read all lie in their images, and as x, y, w, h many do not."""
    boxes, sizes = _usable(content)
    if len(boxes) == 0 or normalised(content):
        return False
    beyond = (boxes[:, :2] + boxes[:, 2:] > sizes + _TOLERANCE).any(axis=1)
    ordered = (boxes[:, 2:] > boxes[:, :2]).all() and (boxes[:, 2:] <= sizes + _TOLERANCE).all()
    return bool(ordered and (boxes[:, :2] >= -_TOLERANCE).all() and beyond.mean() >= _SUSPICIOUS)


def _usable(content: Content) -> tuple[np.ndarray, np.ndarray]:
    usable = np.isfinite(content.boxes).all(axis=1) & np.isfinite(content.image_sizes).all(axis=1)
    return content.boxes[usable], content.image_sizes[usable]


def _are_normalised(content: Content) -> list[Finding]:
    text = "all boxes are between 0 and 1: they are in shares of the image, and must be in pixels"
    return [_of_all("normalised boxes", text, content)] if normalised(content) else []


def _are_corners(content: Content) -> list[Finding]:
    text = (
        "the boxes look like corners [x1, y1, x2, y2] and must be [x, y, width, height]: "
        "as corners all of them lie inside their images"
    )
    return [_of_all("boxes of corners", text, content)] if corners(content) else []


def _of_all(kind: str, text: str, content: Content) -> Finding:
    places = tuple(content.places(np.isfinite(content.boxes).all(axis=1), with_box=True))
    return Finding(kind=kind, severity=_ERROR, text=text, places=places)


def _single_boxes(content: Content) -> Iterator[Finding]:
    with np.errstate(invalid="ignore"):  # infinite boxes have been told, unusable sizes too: they compare as false
        low, high = content.boxes[:, :2], content.boxes[:, :2] + content.boxes[:, 2:]
        inverted = (content.boxes[:, 2:] < 0).any(axis=1)
        empty = ~inverted & (content.boxes[:, 2:] == 0).any(axis=1)
        solid = ~inverted & ~empty & np.isfinite(content.boxes).all(axis=1)
        outside = solid & ((high <= 0) | (low >= content.image_sizes)).any(axis=1)
        over = solid & ~outside & ((low < -_TOLERANCE) | (high > content.image_sizes + _TOLERANCE)).any(axis=1)
        tiny = solid & ~outside & (content.boxes[:, 2:] < 1).any(axis=1)
    for kind, severity, chosen, what in (
        ("inverted box", _ERROR, inverted, "boxes have a negative width or height"),
        ("box outside the image", _ERROR, outside, "boxes lie outside their image"),
        ("box over the border", _WARNING, over, "boxes reach over the border of their image (training clips them)"),
        ("empty box", _WARNING, empty, "boxes are empty: training leaves them out, evaluation counts them as missed"),
        ("tiny box", _WARNING, tiny, "boxes are narrower than a pixel"),
    ):
        yield from Finding.counted(kind, severity, what, content.places(chosen, with_box=True))
