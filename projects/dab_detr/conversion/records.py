"""Pictures with objects: every reader turns its format into them."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Box = tuple[float, float, float, float]


@dataclass(kw_only=True)
class Item:
    """An object in a picture.

    name: its class.
    box: x, y, width, height in pixels of the picture as it is shown.
    outlines: polygons x, y, x, y, … in the same pixels, one for each piece; may be empty.
    place: the label file and the entry within it, for messages.
    extra: further keys of an annotation in COCO format.
    """

    name: str
    box: Box
    outlines: list[list[float]] = field(default_factory=list)
    place: str = ""
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class Picture:
    """A picture file and its objects.

    size: width and height in pixels as it is shown, turned by its EXIF data.
    labeled: whether there are labels for it, even empty ones.
    extra: further keys of an image in COCO format.
    """

    path: Path
    size: tuple[int, int]
    items: list[Item] = field(default_factory=list)
    labeled: bool = True
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class Records:
    """Everything that was read.

    categories: name -> category in COCO format (id, name and more), in the order of the ids.
    pictures: split -> its pictures.
    """

    categories: dict[str, dict[str, Any]]
    pictures: dict[str, list[Picture]]


def box_of(points: list[float]) -> Box:
    """The box x, y, width, height around points x, y, x, y, …"""
    x, y = min(points[::2]), min(points[1::2])
    return x, y, max(points[::2]) - x, max(points[1::2]) - y


def numbered(names: set[str]) -> dict[str, dict[str, Any]]:
    """Categories for names without ids: sorted, numbered from 1."""
    return {name: {"id": i, "name": name} for i, name in enumerate(sorted(names), 1)}
