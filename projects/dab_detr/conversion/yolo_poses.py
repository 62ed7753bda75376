"""Tells poses from outlines in the label files of a YOLO dataset that states no kpt_shape."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .text import read_lines

BORDER = 0.1  # a number may reach this far beyond the picture, as a fraction of it


@dataclass(frozen=True)
class Poses:
    """What the rows of a dataset are.

    keypoint_shape: (points, 3) if they are poses, otherwise None.
    unclear: label file and line of the rows that could be poses, and are read as outlines.
    """

    keypoint_shape: tuple[int, int] | None = None
    unclear: tuple[tuple[Path, int], ...] = ()


def find_poses(paths: Iterable[Path]) -> Poses:
    """Decide for all label files of a dataset together.

    They hold poses if all rows longer than a box have one length, with x, y and visibility (0, 1 or 2) for each key
    point, and if one of these rows is a pose that cannot be an outline. Without such a row they could be either.
    """
    length, proven, unclear = None, False, []
    for path in paths:
        for line, values in long_rows(path):
            length = length or len(values)
            if len(values) != length or not has_visibilities(values):
                return Poses()
            if points_in_box(values):
                proven = proven or not is_outline(values)
                unclear.append((path, line))
    if proven and length:
        return Poses(keypoint_shape=((length - 4) // 3, 3))
    return Poses(unclear=tuple(unclear))


def long_rows(path: Path) -> Iterator[tuple[int, list[float]]]:
    """The lines with more numbers than a box and a score, without their class. The reader names damaged ones."""
    try:
        for number, line in enumerate(read_lines(path), 1):
            columns = line.split()
            if len(columns) > 6:
                yield number, [float(x) for x in columns[1:]]
    except ValueError:  # Damage is one
        return


def has_visibilities(values: list[float]) -> bool:
    """Whether numbers have the form of a box and key points x, y, visibility."""
    return len(values) >= 7 and len(values) % 3 == 1 and all(x in (0, 1, 2) for x in values[6::3])


def points_in_box(values: list[float]) -> bool:
    """Whether a pose has a visible key point, and its box contains all visible ones."""
    (x, y, w, h), points = values[:4], values[4:]
    visible = [(px, py) for px, py, v in zip(points[::3], points[1::3], points[2::3], strict=True) if v]
    inside = all(abs(px - x) <= w / 2 + 0.01 and abs(py - y) <= h / 2 + 0.01 for px, py in visible)
    return bool(visible) and inside and w > 0 and h > 0


def is_outline(values: list[float]) -> bool:
    """Whether numbers could be the points of an outline."""
    return len(values) % 2 == 0 and all(-BORDER <= x <= 1 + BORDER for x in values)
