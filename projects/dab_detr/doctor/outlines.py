"""Check masks and key points. Boxes need neither, but Detectron2 reads them and stops if it cannot."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..data.content import Content, number
from .finding import Finding, Severity

LARGEST_MASK = 2**31 - 1  # pixels, as pycocotools counts them


def check_outlines(content: Content) -> Iterator[Finding]:
    """Find masks and key points that stop Detectron2, and masks whose annotations it leaves out."""
    for kind, severity, what, is_wrong in (
        (
            "segmentation",
            Severity.ERROR,
            "annotations have a segmentation that is neither a list of polygons, each a list, nor RLE whose counts "
            "(none negative) add up to its size [height, width]",
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
            "annotations have keypoints that are not a list of numbers",
            lambda x: not is_points(x.get("keypoints")),
        ),
    ):
        yield from Finding.counted(kind, severity, what, (content.place(x) for x in content.objects if is_wrong(x)))


def is_mask(mask: Any) -> bool:
    """Whether Detectron2 can read a segmentation: nothing, RLE, or a list of polygons."""
    if not mask:
        return True
    if isinstance(mask, dict):
        return is_rle(mask.get("counts"), mask.get("size"))
    return isinstance(mask, list) and all(isinstance(polygon, list) for polygon in mask)


def is_rle(counts: Any, size: Any) -> bool:
    """Whether run lengths, a list or pycocotools' compressed text, add up to the size [height, width] of a mask."""
    if not (are_natural(size) and len(size) == 2 and 0 < size[0] * size[1] <= LARGEST_MASK):
        return False
    if isinstance(counts, str):
        runs = uncompressed(counts)
        return runs is not None and bool((runs >= 0).all()) and int(runs.sum()) == size[0] * size[1]
    return are_natural(counts) and sum(counts) == size[0] * size[1]


def uncompressed(text: str) -> np.ndarray | None:
    """The run lengths that pycocotools has packed into a text; None if it is not such a text.

    Each number is written in groups of five bits, the lowest first, as characters from "0" on; a sixth bit says that
    more groups follow, and the highest bit of the last group is the sign. From the fourth number on, it is the
    difference to the number two places before.
    """
    groups = np.frombuffer(text.encode("utf-8", "replace"), np.uint8).astype(np.int64) - 48
    if not len(groups) or (groups < 0).any() or (groups > 63).any() or groups[-1] & 32:
        return None
    ends = np.flatnonzero(groups & 32 == 0)
    starts = np.concatenate([[0], ends[:-1] + 1])
    lengths = ends - starts + 1
    if lengths.max() > 7:  # more than 35 bits
        return None
    shifts = 5 * (np.arange(len(groups)) - np.repeat(starts, lengths))
    values = np.add.reduceat((groups & 31) << shifts, starts)
    values -= np.where(groups[ends] & 16, np.int64(1) << 5 * lengths, 0)
    values[1::2] = values[1::2].cumsum()
    values[2::2] = values[2::2].cumsum()
    return values


def is_kept(mask: Any) -> bool:
    """Whether Detectron2 keeps an annotation with a segmentation that it can read."""
    return not mask or isinstance(mask, dict) or any(len(polygon) % 2 == 0 and len(polygon) >= 6 for polygon in mask)


def is_polygon(mask: Any) -> bool:
    """Whether a segmentation is a single polygon that should stand in a list."""
    return are_numbers(mask) and is_kept([mask])


def is_points(points: Any) -> bool:
    """Whether Detectron2 can read key points: nothing, or a list of numbers."""
    return not points or are_numbers(points)


def are_numbers(values: Any) -> bool:
    """Whether a value is a list of finite numbers."""
    return isinstance(values, list) and all(math.isfinite(number(value)) for value in values)


def are_natural(values: Any) -> bool:
    """Whether a value is a list of integers of at least 0."""
    return isinstance(values, list) and all(type(value) is int and value >= 0 for value in values)
