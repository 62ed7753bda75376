"""LabelMe: one JSON file for each picture."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.content import as_int
from .damage import Damage
from .inventory import Inventory
from .items import finite
from .layout import Layout, splits_by_folder
from .paired import PairedLayout, Shape, Sheet
from .text import read_json

NO_AREA = ("point", "points", "line", "linestrip")  # kinds of shapes without an area, which are no pieces of an object


@dataclass(frozen=True, kw_only=True)
class LabelmeLayout(PairedLayout):
    """A dataset in LabelMe's format. Shapes of one label and one group_id are the pieces of one object."""

    format = "LabelMe"

    def parse(self, path: Path) -> Sheet:
        """See PairedLayout."""
        content = read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
            found = content.get("shapes") if isinstance(content, dict) else content
            raise Damage(path, "shapes", f"must be a list, got {found!r:.60}")
        sheet = Sheet(picture=str(content.get("imagePath") or ""))
        width, height = (as_int(content.get(key)) for key in ("imageWidth", "imageHeight"))
        if all(type(x) is int and x > 0 for x in (width, height)):
            sheet.size = (width, height)
        pieces: dict[Any, Shape] = {}
        for number, node in enumerate(content["shapes"]):
            shape, group = labelme_shape(node, path, number)
            key = (shape.name, str(group)) if group is not None else number
            if key in pieces:
                pieces[key].pieces += 1
                pieces[key].points += shape.points
                pieces[key].outlines += shape.outlines
            else:
                pieces[key] = shape
        sheet.shapes = list(pieces.values())
        return sheet


def labelme_shape(node: Any, path: Path, number: int) -> tuple[Shape, Any]:
    """Return a shape and its group_id, None without one. Raises Damage."""
    entry = f"shapes[{number}]"
    if not isinstance(node, dict):
        raise Damage(path, entry, f"must be an object of JSON, got {node!r:.60}")
    name, points = node.get("label"), node.get("points")
    if not isinstance(name, str) or not name.strip():
        raise Damage(path, entry, f"has no label: {name!r:.60}")
    if not isinstance(points, list) or not points or not all(isinstance(p, list) and len(p) == 2 for p in points):
        raise Damage(path, entry, f"points must be a list of [x, y]: {points!r:.60}")
    flat = [finite(value, "a point", path, entry) for point in points for value in point]
    kind = node.get("shape_type") or "polygon"
    outlines = [list(flat)] if kind == "polygon" and len(flat) >= 6 else []
    if kind == "circle" and len(flat) == 4:  # the center, and a point on the circle
        x, y = flat[:2]
        radius = math.dist(flat[:2], flat[2:])
        flat = [x - radius, y - radius, x + radius, y + radius]
    if kind in NO_AREA:
        flat = flat[:2]  # the box around its points would have an area
    group = node.get("group_id") if kind not in NO_AREA else None
    return Shape(name=name.strip(), points=flat, entry=entry, outlines=outlines), group if group != "" else None


def find_labelme(inventory: Inventory, source: Path, labels: list[Path]) -> Layout | None:
    """Return the layout of a folder with these files of LabelMe, or None if there are none."""
    if not labels:
        return None
    return LabelmeLayout(source=source, inventory=inventory, splits=splits_by_folder(inventory), labels=tuple(labels))
