"""Masks and key points: boxes need neither, but Detectron2 reads them, and stops where it cannot."""

import math
from collections.abc import Iterator
from typing import Any

from ..data.content import Content, number
from .finding import Finding, Severity


def check_outlines(content: Content) -> Iterator[Finding]:
    """Masks and key points that stop Detectron2, and masks for which it leaves annotations out."""
    for kind, severity, what, wrong in (
        (
            "segmentation",
            Severity.ERROR,
            "annotations have a segmentation that is neither a list of polygons, each a list, nor RLE",
            lambda x: not is_mask(x.get("segmentation")),
        ),
        (
            "segmentation without area",
            Severity.WARNING,
            "annotations are left out by Detectron2: their segmentation has no polygon of three points",
            lambda x: is_mask(x.get("segmentation")) and not is_kept(x.get("segmentation")),
        ),
        (
            "keypoints",
            Severity.ERROR,
            "annotations have keypoints that are no list of numbers",
            lambda x: not is_points(x.get("keypoints")),
        ),
    ):
        yield from Finding.counted(kind, severity, what, (content.place(x) for x in content.objects if wrong(x)))


def is_mask(mask: Any) -> bool:
    """Whether Detectron2 can read a segmentation: nothing, RLE, or a list of polygons."""
    if not mask:
        return True
    if isinstance(mask, dict):
        counts, size = mask.get("counts"), mask.get("size")
        return (isinstance(counts, str) or _are_numbers(counts)) and _are_numbers(size) and len(size) == 2
    return isinstance(mask, list) and all(isinstance(polygon, list) for polygon in mask)


def is_kept(mask: Any) -> bool:
    """Whether Detectron2 keeps an annotation with a segmentation that it can read."""
    return not mask or isinstance(mask, dict) or any(len(polygon) % 2 == 0 and len(polygon) >= 6 for polygon in mask)


def is_polygon(mask: Any) -> bool:
    """Whether it is one polygon, that should stand in a list."""
    return _are_numbers(mask) and is_kept([mask])


def is_points(points: Any) -> bool:
    """Whether Detectron2 can read key points: nothing, or a list of numbers."""
    return not points or _are_numbers(points)


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(math.isfinite(number(value)) for value in values)
