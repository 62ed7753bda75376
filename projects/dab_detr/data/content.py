"""The content of an annotation file, for the doctor's checks."""

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
    """The lists of an annotation file in COCO format; every entry is a dict with the keys that the format asks for.

    annotations: None if the file has no such list, like files of test images.
    """

    images: list[dict]
    annotations: list[dict] | None
    categories: list[dict]

    @classmethod
    def from_json(cls, raw: dict) -> "Content":
        """The lists of a parsed annotation file."""
        return cls(images=raw["images"], annotations=raw.get("annotations"), categories=raw["categories"])

    @cached_property
    def objects(self) -> list[dict]:
        """The annotations; empty if the file has none."""
        return self.annotations or []

    @cached_property
    def image_of(self) -> dict[Any, dict]:
        """The image entries by id."""
        return {image["id"]: image for image in self.images}

    @cached_property
    def category_ids(self) -> set[int]:
        """The ids of the categories."""
        return {category["id"] for category in self.categories}

    @cached_property
    def boxes(self) -> np.ndarray:
        """`bbox` of every object, (N, 4) x, y, width, height in pixels; NaN where it is not four numbers."""
        nothing = [np.nan] * 4
        boxes = [list(map(number, x["bbox"])) if is_box(x.get("bbox")) else nothing for x in self.objects]
        return np.array(boxes, dtype=np.float64).reshape(-1, 4)

    @cached_property
    def image_sizes(self) -> np.ndarray:
        """Width and height of every object's image, (N, 2) in pixels; NaN if the image has no usable size."""
        sizes = {i: (number(x["width"]), number(x["height"])) for i, x in self.image_of.items() if has_size(x)}
        unknown = (np.nan, np.nan)
        found = [sizes.get(i, unknown) if is_id(i) else unknown for i in (x.get("image_id") for x in self.objects)]
        return np.array(found, dtype=np.float64).reshape(-1, 2)

    @cached_property
    def counts(self) -> Counter:
        """Number of objects in each image, by its id, without crowd regions."""
        return Counter(x["image_id"] for x in self.objects if is_id(x.get("image_id")) and not x.get("iscrowd"))

    def place(self, annotation: dict) -> str:
        """A text for an annotation: its id and the file name of its image."""
        image = self.image_of.get(annotation["image_id"]) if is_id(annotation.get("image_id")) else None
        return f"annotation {short(annotation.get('id'))}" + (f" ({image['file_name']})" if image else "")

    def places(self, chosen: np.ndarray, *, with_box: bool = False) -> list[str]:
        """Texts for the objects that a mask (N,) chooses: id and file, and on request box and image size."""
        found = []
        for i in np.flatnonzero(chosen):
            size = "x".join(f"{x:g}" for x in self.image_sizes[i])
            box = ", ".join(f"{x:g}" for x in self.boxes[i])
            found.append(self.place(self.objects[i]) + (f" [{box}] in {size}" if with_box else ""))
        return found


def short(value: Any) -> str:
    """A value as text of a readable length."""
    try:
        text = str(value)
    except ValueError:  # Python does not print integers of more than 4,300 digits
        return "a number of thousands of digits"
    return text if len(text) <= 60 else f"{text[:57]}..."


def printable(text: str) -> str:
    """The text with escapes for what no terminal prints: line breaks, control characters and bytes that are no text."""
    text = text.encode("utf-8", "backslashreplace").decode()
    return "".join(x if x.isprintable() else x.encode("unicode_escape").decode() for x in text)


def number(value: Any) -> float:
    """A JSON number as float: infinite if it is too large, NaN if the value is not a number."""
    try:
        return float(value) if type(value) in (int, float) else math.nan
    except OverflowError:
        return math.inf


def as_int(value: Any) -> Any:
    """The integer that a value such as 1.0, "1" or "1.0" stands for; any other value unchanged."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, str) and (match := re.fullmatch(r"\s*(-?\d{1,18})(\.0*)?\s*", value)):
        return int(match[1])
    return value


def is_id(value: Any, known: set | dict | None = None) -> bool:
    """Whether a value can be an id (a text, or a whole number such as 1 or 1.0) and is one of the `known` ids."""
    possible = isinstance(value, (int, str)) or (isinstance(value, float) and value.is_integer())
    return possible and (known is None or value in known)


def ids_by_number(known: Iterable) -> dict[Any, Any]:
    """The known ids by the integer that each stands for, without integers that several ids stand for."""
    found: dict[Any, list] = {}
    for i in known:
        found.setdefault(as_int(i), []).append(i)
    return {key: ids[0] for key, ids in found.items() if len(ids) == 1}


def is_box(box: Any) -> bool:
    """Whether a value is a list of four numbers."""
    return isinstance(box, list) and len(box) == 4 and all(type(x) in (int, float) for x in box)


def has_size(image: dict) -> bool:
    """Whether width and height are whole numbers above zero, such as 20 or 20.0."""
    sizes = [number(image.get(key)) for key in ("width", "height")]
    return all(size > 0 and size.is_integer() for size in sizes)


def repeated(values: list) -> list:
    """The values that repeat an earlier one in the list, once for each repetition."""
    seen = set()
    return [value for value in values if value in seen or seen.add(value)]


def first_few(values: Iterable[Any], show: Callable[[Any], str] = str, shown: int | None = SHOWN) -> str:
    """The first few of `values` as text, and how many more there are."""
    values = list(values)
    words = ", ".join(show(value) for value in values[:shown])
    return words if shown is None or len(values) <= shown else f"{words} and {len(values) - shown} more"
