"""Check everything in annotations except ids and boxes: crowds, areas, duplicates, and the number of objects."""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator

import numpy as np

from ..data.content import Content, is_box, is_id, number
from .files import ImageEntry
from .finding import Finding, Severity
from .outlines import check_outlines, is_kept, is_mask

LEAST_AREA = 0.01  # smallest share of its box that an object covers
MOST_AREA = 1e10  # COCO's evaluation counts objects from 0 to this area


def trained_objects(content: Content) -> np.ndarray:
    """Mask (N,) of the objects that training uses: single, with a box, without an outline that Detectron2 rejects."""
    with np.errstate(invalid="ignore"):
        solid = (content.boxes[:, 2:] > 0).all(axis=1)
    kept = [is_mask(x.get("segmentation")) and is_kept(x.get("segmentation")) for x in content.objects]
    return evaluated_objects(content) & solid & np.array(kept, dtype=bool)


def evaluated_objects(content: Content) -> np.ndarray:
    """Mask (N,) of the objects that evaluation looks for: all except crowd regions."""
    return np.array([not x.get("iscrowd") for x in content.objects], dtype=bool)


def check_objects(content: Content) -> Iterator[Finding]:
    """Find faults of annotations for training and evaluation."""

    def places(condition) -> list[str]:
        return [content.place(x) for x in content.objects if condition(x)]

    yield from Finding.counted(
        "ignore",
        Severity.ERROR,
        "annotations have 'ignore', which Detectron2 does not know",
        places(lambda x: x.get("ignore", 0) != 0),
        "iscrowd 1 marks what must not count",
    )
    yield from Finding.counted(
        "iscrowd not 0 or 1",
        Severity.ERROR,
        "annotations have an iscrowd that is neither 0 nor 1",
        places(lambda x: x.get("iscrowd", 0) not in (0, 1)),
    )
    yield from Finding.counted(
        "crowd",
        Severity.NOTE,
        "annotations are crowd regions: training leaves them out, and detections in them do not count as wrong",
        places(lambda x: x.get("iscrowd", 0) == 1),
    )
    yield from check_outlines(content)
    yield from check_areas(content)
    yield from check_duplicates(content)


def check_ground_truth(content: Content) -> Iterator[Finding]:
    """Find faults that stop pycocotools in the first evaluation, after it has detected everything."""
    for kind, what, is_wrong in (
        (
            "no area",
            "annotations have no 'area' that is a number (set it to width times height of the box)",
            lambda x: math.isnan(number(x.get("area"))),
        ),
        ("no iscrowd", "annotations have no 'iscrowd' (set it to 0)", lambda x: "iscrowd" not in x),
    ):
        places = [content.place(x) for x in content.objects if is_wrong(x)]
        yield from Finding.counted(kind, Severity.ERROR, what, places, "evaluation needs it")


def check_queries(images: Iterable[ImageEntry], num_queries: int) -> list[Finding]:
    """Find images with more objects than the model has queries."""
    many = sorted((x for x in images if x.objects > num_queries), key=lambda x: -x.objects)
    return Finding.counted(
        "more objects than queries",
        Severity.WARNING,
        f"images have more objects than the model has queries ({num_queries}): it can never find them all",
        [f"{x} with {x.objects}" for x in many],
        "raise model.queries.num_queries",
    )


def check_areas(content: Content) -> list[Finding]:
    """Find areas that are impossible for an object in the box. A mask may be much smaller than its box."""
    areas = [x.get("area") for x in content.objects]
    stated = np.array(list(map(number, areas)))
    with np.errstate(invalid="ignore", over="ignore"):
        full = content.boxes[:, 2] * content.boxes[:, 3]
        plausible = (stated >= LEAST_AREA * full) & (stated <= full + 1 + 0.02 * np.abs(full))
    outside = (stated < 0) | (stated > MOST_AREA)
    wrong = ~np.isnan(stated) & ~plausible & (full > 0) & ~outside  # empty boxes have a finding of their own

    def stating(chosen: np.ndarray) -> list[str]:
        places = zip(np.flatnonzero(chosen), content.places(chosen), strict=True)
        return [f"{place} {areas[i]!r:.40}" for i, place in places]

    what = f"annotations have an area below 0 or above {MOST_AREA:g}, so an evaluation leaves their objects out"
    return [
        *Finding.counted("impossible area", Severity.ERROR, what, stating(outside), "--fix sets it to that of the box"),
        *Finding.counted(
            "wrong area",
            Severity.WARNING,
            "annotations have an area that nothing inside their box can have, so AP by size means little",
            stating(wrong),
        ),
    ]


def check_duplicates(content: Content) -> Iterator[Finding]:
    """Find annotations with the same box in the same image."""
    same = defaultdict(list)
    for x in content.objects:
        if is_id(x.get("image_id")) and is_box(x.get("bbox")):
            same[x["image_id"], tuple(x["bbox"])].append(x)
    again, disputed = [], []
    for group in same.values():
        for i, x in enumerate(group[1:], 1):
            alike = any(x.get("category_id") == other.get("category_id") for other in group[:i])
            (again if alike else disputed).append(x)
    yield from Finding.counted(
        "annotation twice",
        Severity.WARNING,
        "annotations repeat another of the same box and category",
        map(content.place, again),
        "--fix keeps the first that is not a crowd region",
    )
    yield from Finding.counted(
        "box of two categories",
        Severity.WARNING,
        "annotations have exactly the box of another category",
        map(content.place, disputed),
    )
