"""Makes objects from the content of label files, and enters odd ones in the ledger."""

import math
from pathlib import Path
from typing import Any

from .damage import Damage
from .ledger import Kind, Ledger
from .picture import Look, Size
from .records import Item, Picture, box_of

LARGEST = 1e9  # pixels, more than any picture has on a side
TOLERANCE = 1.0  # pixels by which rounding may move a box over the border


def make_item(
    *,
    name: str,
    points: list[float],
    size: Size,
    place: str,
    ledger: Ledger,
    outlines: list[list[float]] | None = None,
    extra: dict[str, Any] | None = None,
) -> Item | None:
    """Return the object whose box is around `points` (x, y, x, y, … in pixels of the picture as it is shown).

    Returns None, with an entry in the ledger, if the box has no area. A box over the border is entered and kept.
    """
    x, y, w, h = box_of(points)
    if w <= 0 or h <= 0:
        ledger.add(Kind.NO_AREA, place)
        return None
    if min(x, y) < -TOLERANCE or x + w > size[0] + TOLERANCE or y + h > size[1] + TOLERANCE:
        ledger.add(Kind.OUTSIDE, place)
    return Item(name=name, box=(x, y, w, h), outlines=outlines or [], place=place, extra=extra or {})


def finite(value: Any, what: str, path: Path, entry: str) -> float:
    """Convert a number, or a text that stands for one, to float. Raises Damage for others and above LARGEST."""
    try:
        found = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        found = math.nan
    if not math.isfinite(found):
        raise Damage(path, entry, f"{what} is not a number: {value!r:.60}")
    if abs(found) > LARGEST:
        raise Damage(path, entry, f"{what} is larger than any picture: {value!r:.60}")
    return found


def checked_size(look: Look, stated: Size | None, picture: Path | str, ledger: Ledger) -> bool:
    """Compare the size that labels state (None if they do not) with the picture's size. Enter differences.

    Returns whether the labels refer to the stored picture and have to be turned with it.
    """
    if stated is None or stated == look.size:
        return False
    if look.turns(stated):
        ledger.add(Kind.TURNED, str(picture))
        return True
    ledger.add(Kind.SIZE, "{} is {}x{}, labeled as {}x{}".format(picture, *look.size, *stated))
    return False


def plain_picture(path: Path, look: Look, items: list[Item | None], *, labeled: bool = True) -> Picture:
    """The picture with those of the items that exist."""
    return Picture(path=path, size=look.size, items=[item for item in items if item], labeled=labeled)
