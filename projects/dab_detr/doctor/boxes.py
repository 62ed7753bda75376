"""Boxes: their values, and how they lie in the images."""

from collections.abc import Iterator

import numpy as np

from ..data.content import Content, is_box
from .finding import Finding, Severity
from .formats import corners, normalised, of_shares, usable

_ERROR, _WARNING = Severity.ERROR, Severity.WARNING
_TOLERANCE = 1.0  # pixels by which a box may reach over the border: what rounding does


def check_boxes(content: Content) -> Iterator[Finding]:
    """What is wrong with the boxes of a file. Of those that are of another format nothing else is said."""
    boxless = [content.place(x) for x in content.objects if not is_box(x.get("bbox"))]
    yield from Finding.counted(
        "no box", _ERROR, "annotations have no bbox [x, y, width, height] of numbers", boxless
    )  # fmt: skip
    stated = np.array([is_box(x.get("bbox")) for x in content.objects], dtype=bool)
    infinite = stated & ~np.isfinite(content.boxes).all(axis=1)
    yield from Finding.counted("box not finite", _ERROR, "boxes have NaN or infinite values", content.places(infinite))
    yield from _normalised(content)
    severity = corners(content)
    yield from _corners(content, severity)
    if severity is not _ERROR:
        yield from _single_boxes(content)


def _normalised(content: Content) -> list[Finding]:
    found = of_shares(content)
    advice = f"as {found.name} they fit" if found else "it is not clear what they are, so --fix leaves them"
    return Finding.counted(
        "normalised boxes",
        _ERROR,
        "boxes look normalised: they are in shares of their image, and must be in pixels",
        content.places(normalised(content), with_box=True),
        advice,
    )


def _corners(content: Content, severity: Severity | None) -> list[Finding]:
    text = (
        f"the boxes {'look like' if severity is _ERROR else 'may be'} corners [x1, y1, x2, y2] and must be "
        "[x, y, width, height]: as corners all of them lie inside their images"
    )
    places = tuple(content.places(usable(content), with_box=True))
    return [Finding(kind="boxes of corners", severity=severity, text=text, places=places)] if severity else []


def _single_boxes(content: Content) -> Iterator[Finding]:
    with np.errstate(invalid="ignore"):  # infinite boxes have been told, unusable sizes too: they compare as false
        low, high = content.boxes[:, :2], content.boxes[:, :2] + content.boxes[:, 2:]
        inverted = (content.boxes[:, 2:] < 0).any(axis=1)
        empty = ~inverted & (content.boxes[:, 2:] == 0).any(axis=1)
        solid = ~inverted & ~empty & np.isfinite(content.boxes).all(axis=1) & ~normalised(content)
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
