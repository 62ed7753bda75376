"""Annotations beside their ids and boxes: crowds, areas, duplicates, and how many an image has."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from ..data.content import Content, is_box, number, refers, whole
from .files import ImageEntry
from .finding import Finding, Severity
from .outlines import check_outlines

LEAST_AREA = 0.01  # share of its box that an object covers at least

_ERROR, _WARNING, _NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE


def check_objects(content: Content) -> Iterator[Finding]:
    """What is wrong with annotations for training and evaluation."""

    def which(condition) -> list[str]:
        return [content.place(x) for x in content.objects if condition(x)]

    yield from Finding.counted(
        "ignore",
        _ERROR,
        "annotations have 'ignore', which Detectron2 does not know",
        which(lambda x: x.get("ignore", 0) != 0),
        "what must not count is marked by iscrowd 1",
    )
    yield from Finding.counted(
        "iscrowd not 0 or 1",
        _ERROR,
        "annotations have an iscrowd that is neither 0 nor 1",
        which(lambda x: x.get("iscrowd", 0) not in (0, 1)),
    )
    yield from Finding.counted(
        "crowd",
        _NOTE,
        "annotations are crowd regions: they are not trained on, and detections in them do not count as wrong",
        which(lambda x: x.get("iscrowd", 0) == 1),
    )
    yield from check_outlines(content)
    yield from _areas(content)
    yield from _duplicates(content)


def check_ground_truth(content: Content) -> Iterator[Finding]:
    """What pycocotools stops at when the first evaluation has already detected everything."""
    for kind, what, lacking in (
        (
            "no area",
            "annotations have no 'area' that is a number (set it to width times height of the box)",
            lambda x: math.isnan(number(x.get("area"))),
        ),
        ("no iscrowd", "annotations have no 'iscrowd' (set it to 0)", lambda x: "iscrowd" not in x),
        (
            "annotation id no number",
            "annotations have an id that is no number",
            lambda x: refers(x.get("id")) and not math.isfinite(number(whole(x["id"]))),
        ),
    ):
        places = [content.place(x) for x in content.objects if lacking(x)]
        yield from Finding.counted(kind, _ERROR, what, places, "evaluation needs it")


def check_queries(images: Iterable[ImageEntry], num_queries: int) -> list[Finding]:
    """Images with more objects than the model has queries."""
    many = sorted((x for x in images if x.objects > num_queries), key=lambda x: -x.objects)
    return Finding.counted(
        "more objects than queries",
        _WARNING,
        f"images have more objects than the model has queries ({num_queries}): some can never be found",
        [f"{x} with {x.objects}" for x in many],
        "raise model.queries.num_queries",
    )


def _areas(content: Content) -> list[Finding]:
    """Areas that are no areas of what is in the boxes; that of a mask may be much smaller than its box."""
    areas = [x.get("area") for x in content.objects]
    stated = np.array(list(map(number, areas)))
    full = content.boxes[:, 2] * content.boxes[:, 3]
    with np.errstate(invalid="ignore"):
        plausible = (stated >= LEAST_AREA * full) & (stated <= full + 1 + 0.02 * np.abs(full))
    wrong = ~np.isnan(stated) & ~plausible & (full > 0)  # boxes without an area of their own are told apart
    return Finding.counted(
        "wrong area",
        _WARNING,
        "annotations have an area that cannot be that of what is in their box, so AP by size means little",
        [f"{place} {areas[i]!r}" for i, place in zip(np.flatnonzero(wrong), content.places(wrong), strict=True)],
    )


def _duplicates(content: Content) -> Iterator[Finding]:
    same = defaultdict(list)
    for x in content.objects:
        if refers(x.get("image_id")) and is_box(x.get("bbox")):
            same[x["image_id"], tuple(x["bbox"])].append(x)
    again, disputed = [], []
    for group in same.values():
        if len(group) == 1:
            continue
        for i, x in enumerate(group[1:], 1):
            if any(x.get("category_id") == other.get("category_id") for other in group[:i]):
                again.append(x)
            else:
                disputed.append(x)
    yield from Finding.counted(
        "annotation twice",
        _WARNING,
        "annotations repeat another of the same box and category",
        map(content.place, again),
    )
    yield from Finding.counted(
        "box of two categories",
        _WARNING,
        "annotations have the very box of another category",
        map(content.place, disputed),
    )
