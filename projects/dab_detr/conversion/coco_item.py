"""Turns an annotation in COCO format into an object."""

import math
from typing import Any

from ..data.content import as_int, is_id, number
from ..doctor.outlines import are_numbers, is_kept, is_mask, is_points
from .coco_file import CocoFile
from .damage import Damage
from .items import finite, make_item
from .ledger import Kind, Ledger
from .picture import Look
from .records import Item


def coco_item(node: dict, content: CocoFile, look: Look, turned: bool, ledger: Ledger) -> Item | None:
    """Return the object of an annotation; None, with an entry in the ledger, if its box has no area.

    turned: whether the annotation refers to the stored picture and has to be turned with it. Raises Damage for an
    unknown category and for a box that is missing or not of numbers.
    """
    path, entry = content.path, f"annotation {node.get('id')}"
    place = f"{ledger.name(path)}, {entry}"
    if not is_id(node["category_id"], content.names):
        raise Damage(path, entry, f"category_id {node['category_id']!r:.60} is not among the categories")
    polygons = outlines_of(node.get("segmentation"))
    points = box_points(node, content, entry, polygons)
    if node.get("bbox") in (None, []):
        ledger.add(Kind.FROM_OUTLINE, place)
    extra = {key: value for key, value in node.items() if key not in ("bbox", "image_id", "category_id")}
    extra["iscrowd"] = crowd_flag(node, content, entry)
    keep_usable(extra, place, ledger)
    if turned:
        points = look.turned(points)
        turn_extra(extra, polygons, look, place, ledger)
    return make_item(
        name=content.names[node["category_id"]],
        points=points,
        size=look.size,
        place=place,
        ledger=ledger,
        extra=extra,
    )


def box_points(node: dict, content: CocoFile, entry: str, polygons: list[list[float]]) -> list[float]:
    """The corners x1, y1, x2, y2 of an annotation's box; without one, the points of its outline."""
    box = node.get("bbox")
    if box in (None, []):
        if not polygons:
            raise Damage(content.path, entry, "has no bbox")
        return [finite(value, "a point", content.path, entry) for polygon in polygons for value in polygon]
    if not isinstance(box, list) or len(box) != 4:
        raise Damage(content.path, entry, f"bbox must be [x, y, width, height]: {box!r:.60}")
    x, y, w, h = (finite(value, "bbox", content.path, entry) for value in box)
    # a box with a negative width has no area, although its two points would make one
    return [x, y, x + w, y + h] if w > 0 and h > 0 else [x, y, x, y]


def outlines_of(segmentation: Any) -> list[list[float]]:
    """The polygons of a segmentation; none if it is a mask or empty."""
    if not isinstance(segmentation, list):
        return []
    return [x for x in segmentation if isinstance(x, list) and len(x) >= 6 and len(x) % 2 == 0]


def crowd_flag(node: dict, content: CocoFile, entry: str) -> int:
    """The flag of a crowd as 0 or 1; 0 without one. Raises Damage for a flag that is neither."""
    flag = node.get("iscrowd")
    flag = {"false": 0, "true": 1}.get(flag.strip().lower(), as_int(flag)) if isinstance(flag, str) else as_int(flag)
    if flag is not None and (not isinstance(flag, int) or flag not in (0, 1)):
        raise Damage(content.path, entry, f"iscrowd must be 0 or 1: {node['iscrowd']!r:.60}")
    return int(flag or 0)


def keep_usable(extra: dict[str, Any], place: str, ledger: Ledger) -> None:
    """Leave out an outline, key points and an area that nothing can use."""
    outline = extra.get("segmentation")
    polygons = outline if isinstance(outline, list) else []
    if not (is_mask(outline) and is_kept(outline) and all(map(are_numbers, polygons))):
        del extra["segmentation"]
        ledger.add(Kind.BAD_OUTLINE, place)
    if not is_points(extra.get("keypoints")):
        del extra["keypoints"]
        ledger.add(Kind.BAD_OUTLINE, place)
    area = number(extra.get("area", 0))
    if not (math.isfinite(area) and area >= 0):
        del extra["area"]
        ledger.add(Kind.AREA, place)


def turn_extra(extra: dict[str, Any], polygons: list[list[float]], look: Look, place: str, ledger: Ledger) -> None:
    """Turn the outline and the key points of an annotation; a mask is left out."""
    if polygons:
        extra["segmentation"] = [look.turned(polygon) for polygon in polygons]
    elif extra.pop("segmentation", None):
        ledger.add(Kind.NO_OUTLINE, place)
    points = extra.get("keypoints")
    if isinstance(points, list) and len(points) % 3 == 0:
        for i in range(0, len(points), 3):
            if points[i + 2]:  # key points without a place are 0, 0, 0
                points[i : i + 2] = look.turned(points[i : i + 2])
