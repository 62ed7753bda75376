"""Check boxes: their values, and how they lie in the images."""

from collections.abc import Iterator

import numpy as np

from ..data.content import Content, is_box
from .finding import Finding, Severity
from .formats import corner_severity, looks_normalized, normalized_format, usable

TOLERANCE = 1.0  # pixels by which rounding may move a box over the border


def check_boxes(content: Content) -> Iterator[Finding]:
    """Find faults of the boxes in a file. Boxes in another format get no other finding."""
    boxless = [content.place(x) for x in content.objects if not is_box(x.get("bbox"))]
    what = "annotations have no bbox [x, y, width, height] of numbers"
    yield from Finding.counted("no box", Severity.ERROR, what, boxless)
    stated = np.array([is_box(x.get("bbox")) for x in content.objects], dtype=bool)
    infinite = stated & ~np.isfinite(content.boxes).all(axis=1)
    what = "boxes have NaN or infinite values"
    yield from Finding.counted("box not finite", Severity.ERROR, what, content.places(infinite))
    yield from check_normalized(content)
    severity = corner_severity(content)
    if severity:
        yield corner_finding(content, severity)
    if severity is not Severity.ERROR:
        yield from check_single_boxes(content)


def check_normalized(content: Content) -> list[Finding]:
    """Find boxes in fractions of their image."""
    found = normalized_format(content)
    advice = f"as {found.name} they fit" if found else "it is not clear what they are, so --fix leaves them"
    return Finding.counted(
        "normalized boxes",
        Severity.ERROR,
        "boxes look normalized: they are fractions of their image, and must be in pixels",
        content.places(looks_normalized(content), with_box=True),
        advice,
    )


def corner_finding(content: Content, severity: Severity) -> Finding:
    """The finding that all boxes are corners, which is certain if `severity` is an error."""
    text = (
        f"the boxes {'look like' if severity is Severity.ERROR else 'may be'} corners [x1, y1, x2, y2] and must be "
        "[x, y, width, height]: as corners all of them lie inside their images"
    )
    places = tuple(content.places(usable(content), with_box=True))
    return Finding(kind="boxes of corners", severity=severity, text=text, places=places)


def check_single_boxes(content: Content) -> Iterator[Finding]:
    """Find boxes that are inverted, empty, outside their image or tiny."""
    error, warning = Severity.ERROR, Severity.WARNING
    # Boxes and sizes without a usable value have their own finding; comparisons with them are false here.
    with np.errstate(invalid="ignore", over="ignore"):
        low, high = content.boxes[:, :2], content.boxes[:, :2] + content.boxes[:, 2:]
        inverted = (content.boxes[:, 2:] < 0).any(axis=1)
        empty = ~inverted & (content.boxes[:, 2:] == 0).any(axis=1)
        solid = ~inverted & ~empty & np.isfinite(content.boxes).all(axis=1) & ~looks_normalized(content)
        outside = solid & ((high <= 0) | (low >= content.image_sizes)).any(axis=1)
        over = solid & ~outside & ((low < -TOLERANCE) | (high > content.image_sizes + TOLERANCE)).any(axis=1)
        tiny = solid & ~outside & (content.boxes[:, 2:] < 1).any(axis=1)
    for kind, severity, chosen, what in (
        ("inverted box", error, inverted, "boxes have a negative width or height"),
        ("box outside the image", error, outside, "boxes lie outside their image"),
        ("box over the border", warning, over, "boxes reach over the border of their image (training clips them)"),
        ("empty box", warning, empty, "boxes are empty: training leaves them out, evaluation counts them as missed"),
        ("tiny box", warning, tiny, "boxes are narrower than a pixel"),
    ):
        yield from Finding.counted(kind, severity, what, content.places(chosen, with_box=True))
