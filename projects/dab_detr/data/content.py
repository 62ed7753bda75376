"""The content of an annotation file, as the checks look at it."""

import math
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

SHOWN = 5  # ids or names that a message lists


@dataclass(frozen=True, kw_only=True)
class Content:
    """The lists of an annotation file in COCO format, whose entries are dicts with the keys that they must have.

    annotations: None where the file has no such list, as that of test images.
    """

    images: list[dict]
    annotations: list[dict] | None
    categories: list[dict]

    @cached_property
    def objects(self) -> list[dict]:
        """The annotations, or nothing."""
        return self.annotations or []

    @cached_property
    def image_of(self) -> dict[Any, dict]:
        """The entries of the images by their ids."""
        return {image["id"]: image for image in self.images}

    @cached_property
    def category_ids(self) -> set[int]:
        return {category["id"] for category in self.categories}

    @cached_property
    def boxes(self) -> np.ndarray:
        """`bbox` of every object, (N, 4) x, y, width, height in pixels; NaN for what is none."""
        nothing = [np.nan] * 4
        boxes = [list(map(number, x["bbox"])) if is_box(x.get("bbox")) else nothing for x in self.objects]
        return np.array(boxes, dtype=np.float64).reshape(-1, 4)

    @cached_property
    def image_sizes(self) -> np.ndarray:
        """Width and height of the image of every object, (N, 2) in pixels; NaN where it has no usable size."""
        sizes = {i: (image["width"], image["height"]) for i, image in self.image_of.items() if has_size(image)}
        unknown = (np.nan, np.nan)
        found = [sizes.get(i, unknown) if refers(i) else unknown for i in (x.get("image_id") for x in self.objects)]
        return np.array(found, dtype=np.float64).reshape(-1, 2)

    @cached_property
    def counts(self) -> Counter:
        """Number of objects to be found in each image, by its id; crowd regions do not count."""
        return Counter(x["image_id"] for x in self.objects if refers(x.get("image_id")) and not x.get("iscrowd"))

    def place(self, annotation: dict) -> str:
        """An annotation by its id and the file name of its image."""
        image = self.image_of.get(annotation["image_id"]) if refers(annotation.get("image_id")) else None
        return f"annotation {annotation.get('id')}" + (f" ({image['file_name']})" if image else "")

    def places(self, chosen: np.ndarray, *, with_box: bool = False) -> list[str]:
        """The objects that a mask (N,) chooses, each by its id and file, and on demand its box and image size."""
        found = []
        for i in np.flatnonzero(chosen):
            size = "x".join(f"{x:g}" for x in self.image_sizes[i])
            box = ", ".join(f"{x:g}" for x in self.boxes[i])
            found.append(self.place(self.objects[i]) + (f" [{box}] in {size}" if with_box else ""))
        return found


def number(value: Any) -> float:
    """What is a number in JSON: infinite where it is too large, NaN for all else."""
    try:
        return float(value) if type(value) in (int, float) else math.nan
    except OverflowError:
        return math.inf


def whole(value: Any) -> Any:
    """The whole number that a value stands for, as 1.0, "1" and "1.0" do; the value itself where it is none."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(-?\d{1,18})(\.0*)?\s*", value)):
        return int(match[1])
    return value


def refers(value: Any, known: set | dict | None = None) -> bool:
    """Whether a value can be an id at all, a text or a whole number such as 1 or 1.0, and is one of those known."""
    possible = isinstance(value, (int, str)) or (isinstance(value, float) and value.is_integer())
    return possible and (known is None or value in known)


def twins(known: Iterable) -> dict[Any, Any]:
    """The ids by the whole numbers that they stand for, but for those of which several stand for one."""
    found: dict[Any, list] = {}
    for i in known:
        found.setdefault(whole(i), []).append(i)
    return {key: ids[0] for key, ids in found.items() if len(ids) == 1}


def is_box(box: Any) -> bool:
    """Whether it is a list of four numbers."""
    return isinstance(box, list) and len(box) == 4 and all(type(x) in (int, float) for x in box)


def has_size(image: dict) -> bool:
    """Whether width and height are whole numbers above zero, such as 20 or 20.0."""
    sizes = [number(image.get(key)) for key in ("width", "height")]
    return all(size > 0 and size.is_integer() for size in sizes)


def repeated(values: list) -> list:
    """The values that were there before, each as often."""
    seen = set()
    return [value for value in values if value in seen or seen.add(value)]


def first_few(values: Iterable[Any], show: Callable[[Any], str] = str, shown: int | None = SHOWN) -> str:
    """The first few of `values` in words, and how many more there are."""
    values = list(values)
    words = ", ".join(show(value) for value in values[:shown])
    return words if shown is None or len(values) <= shown else f"{words} and {len(values) - shown} more"
