"""The rows of YOLO's label files: a class and a box, an outline, or a box with key points."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from .damage import Damage
from .text import read_lines
from .yolo_poses import BORDER, has_visibilities, points_in_box


@dataclass(frozen=True)
class Row:
    """A row. points: x, y, x, y, … as fractions of the picture. outline: True for an outline, False for a box's
    corners."""

    name: str
    points: tuple[float, ...]
    outline: bool
    line: int
    score: bool = False


def read_rows(path: Path, names: Mapping[int, str], keypoint_shape: tuple[int, int] | None) -> list[Row]:
    """Return the rows of a label file.

    names: class names by their numbers.
    keypoint_shape: for datasets of poses, the number of key points of an object, and of numbers for each (2 or 3).
    Raises Damage for the first row that is wrong.
    """
    rows = []
    for number, line in enumerate(read_lines(path), 1):
        columns = line.split()
        if columns:
            rows.append(read_row(columns, path, number, names, keypoint_shape))
    return rows


def read_row(
    columns: list[str], path: Path, line: int, names: Mapping[int, str], keypoint_shape: tuple[int, int] | None
) -> Row:
    """Return one row. Raises Damage."""
    entry = f"line {line}"
    try:
        numbers = [float(x) for x in columns]
    except ValueError as error:
        raise Damage(path, entry, f"is not a row of numbers: {' '.join(columns)!r:.60}") from error
    if not all(map(math.isfinite, numbers)):
        raise Damage(path, entry, f"has a number that is not finite: {' '.join(columns)!r:.60}")
    number, values = numbers[0], numbers[1:]
    if number not in names:
        known = f"{min(names)} to {max(names)}" if names else "none"
        raise Damage(path, entry, f"class {columns[0]} is not among the names ({known})")
    box, outline, score = split_values(values, keypoint_shape)
    if keypoint_shape and not box:
        wanted = 5 + math.prod(keypoint_shape)
        raise Damage(
            path, entry, f"has {len(columns)} numbers; kpt_shape {list(keypoint_shape)} asks for {wanted}, or 5 (a box)"
        )
    pose = not box and has_visibilities(values) and points_in_box(values)
    hint = ", or kpt_shape in data.yaml if it is a pose" if pose else ""
    if not box and not outline:
        numbers = f"has {len(columns)} numbers"
        raise Damage(path, entry, f"must have a class and 4 numbers (a box) or at least 3 points{hint}, and {numbers}")
    if any(not -BORDER <= x <= 1 + BORDER for x in box or outline):
        raise Damage(path, entry, f"has numbers beyond 0 to 1: YOLO's are fractions of the picture, not pixels{hint}")
    if outline:
        return Row(names[int(number)], tuple(outline), True, line)
    x, y, w, h = box
    if w < 0 or h < 0:
        raise Damage(path, entry, "has a negative width or height: a row is class, center x, center y, width, height")
    return Row(names[int(number)], (x - w / 2, y - h / 2, x + w / 2, y + h / 2), False, line, score)


def split_values(values: list[float], keypoint_shape: tuple[int, int] | None) -> tuple[list[float], list[float], bool]:
    """Return the box or the outline of a row, the other one empty, and whether a score follows the box.

    Both are empty for a wrong row."""
    count = len(values)
    if count == 4:
        return values, [], False
    if keypoint_shape and count == 4 + math.prod(keypoint_shape):
        return values[:4], [], False
    if count == 5:
        return values[:4], [], True
    return [], values if not keypoint_shape and count >= 6 and count % 2 == 0 else [], False
