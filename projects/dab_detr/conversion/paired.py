"""Formats with one label file for each picture: finds out which belong together."""

import os
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from .damage import Damage, shown
from .inventory import Inventory
from .items import checked_size, make_item, plain_picture
from .layout import IMAGE_FOLDERS, LABEL_FOLDERS, Layout
from .ledger import Kind, Ledger
from .lookup import PathIndex, fold, path_parts
from .picture import Size, look_at
from .records import Picture, Records, numbered


@dataclass(kw_only=True)
class Shape:
    """An object in a label file.

    points: x, y, x, y, … in pixels. entry: its name in messages. pieces: number of shapes that it is made of.
    """

    name: str
    points: list[float]
    entry: str
    outlines: list[list[float]] = field(default_factory=list)
    swapped: bool = False
    pieces: int = 1


@dataclass(kw_only=True)
class Sheet:
    """A label file. picture: the path of the picture as the file states it. size: the picture's size, if stated."""

    picture: str = ""
    size: Size | None = None
    shapes: list[Shape] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class PairedLayout(Layout):
    """A dataset with a label file for each picture. labels: these files."""

    labels: tuple[Path, ...]

    def parse(self, path: Path) -> Sheet:
        """Return the content of a label file. Raises Damage."""
        raise NotImplementedError

    def adjust(self, sheets: list[Sheet]) -> None:
        """Correct what only all label files together can show."""

    def read(self, ledger: Ledger) -> Records:
        """See Layout."""
        sheets: dict[Path, Sheet | None] = dict.fromkeys(self.labels)  # None: damaged
        for path in self.labels:
            with ledger.collecting():
                sheets[path] = self.parse(path)
        self.adjust([sheet for sheet in sheets.values() if sheet])
        label_of = Pairing(self.inventory, sheets, ledger).label_of
        pictures: dict[str, list[Picture]] = {}
        for split in self.splits:
            found = (self.picture(path, label_of.get(path), sheets, ledger) for path in split.pictures)
            pictures[split.name] = [picture for picture in found if picture and picture.path not in ledger.lost]
        names = {item.name for some in pictures.values() for picture in some for item in picture.items}
        return Records(categories=numbered(names), pictures=pictures)

    def picture(
        self, path: Path, label: Path | None, sheets: dict[Path, Sheet | None], ledger: Ledger
    ) -> Picture | None:
        """Return a picture with its objects; None if it or its label file is damaged."""
        with ledger.collecting(path):
            look = look_at(path)
            if label is None:
                return plain_picture(path, look, [], labeled=False)
            sheet = sheets[label]
            if sheet is None:
                ledger.lost.setdefault(path, next(x for x in ledger.damages if x.path == label))
                return None
            turned = checked_size(look, sheet.size, ledger.name(path), ledger)
            turn: Callable = look.turned if turned else lambda points: points
            items = []
            for shape in sheet.shapes:
                place = f"{ledger.name(label)}, {shape.entry}"
                if shape.swapped:
                    ledger.add(Kind.SWAPPED, place)
                if shape.pieces > 1:
                    ledger.add(Kind.PIECES, f"{place} ({shape.pieces} shapes)")
                outlines = [turn(outline) for outline in shape.outlines]
                items.append(
                    make_item(
                        name=shape.name,
                        points=turn(shape.points),
                        size=look.size,
                        place=place,
                        ledger=ledger,
                        outlines=outlines,
                    )
                )
            return plain_picture(path, look, items)
        return None


class Pairing:
    """Finds the picture of each label file: the one beside it, then the one at the same place, then the one it names.

    label_of: picture -> its label file. Label files without a picture are entered in the ledger. Two label files for
        one picture are damage, and so is a label file for two pictures.
    """

    def __init__(self, inventory: Inventory, sheets: dict[Path, Sheet | None], ledger: Ledger):
        self.inventory = inventory
        self.index = PathIndex(inventory.folder, inventory.pictures)
        self.beside: dict[tuple, list[Path]] = defaultdict(list)
        self.at_place: dict[tuple, list[Path]] = defaultdict(list)
        for path in inventory.pictures:
            self.beside[path.parent, fold(path.stem)].append(path)
            self.at_place[self.place(path)].append(path)
        claims: dict[Path, list[Path]] = defaultdict(list)
        by_name: list[tuple[Path, list[Path]]] = []
        for label, sheet in sheets.items():
            stated = sheet.picture if sheet else ""
            found = self.by_stem(label, stated)
            with ledger.collecting(*found):
                if len(found) > 1:
                    raise Damage(label, "", f"may label {' or '.join(map(shown, found))}: name the picture in it")
                if found:
                    claims[found[0]].append(label)
                    self.compare(label, stated, found[0], ledger)
                else:
                    by_name.append((label, self.index.find(stated, label.parent)))
        beside = set(claims)
        for label, found in by_name:
            sheet = sheets[label]
            if len(found) == 1 and (found[0] not in beside or not sheet):
                claims[found[0]].append(label)
            elif sheet:  # a damaged one is entered anyway
                several = f", {sheet.picture} is {' and '.join(map(shown, found))}" if len(found) > 1 else ""
                ledger.add(Kind.ORPHAN, f"{ledger.name(label)} ({count(len(sheet.shapes), 'object')}{several})")
        self.label_of = {picture: labels[0] for picture, labels in claims.items()}
        for picture, labels in claims.items():
            with ledger.collecting(picture):
                if len(labels) > 1:
                    others = " and ".join(map(shown, labels[1:]))
                    raise Damage(labels[0], "", f"is not the only label file of {shown(picture)}: {others}")

    def place(self, path: Path) -> tuple[str, ...]:
        """The path of a file without its suffix and without the folders that only separate pictures from labels."""
        *folders, name = self.inventory.relative(path.with_suffix(""))
        return (*(fold(x) for x in folders if x.lower() not in IMAGE_FOLDERS | LABEL_FOLDERS), fold(name))

    def by_stem(self, label: Path, stated: str) -> list[Path]:
        """Return the pictures with the same stem. If there are several and the label file names one, return only that
        one."""
        found = self.beside.get((label.parent, fold(label.stem))) or self.at_place.get(self.place(label), [])
        if len(found) > 1:
            exact = [path for path in found if path.stem == label.stem] or found
            named = [path for path in found if path_parts(stated)[-1:] == [path.name]]
            found = named or exact
        return found

    def compare(self, label: Path, stated: str, found: Path, ledger: Ledger) -> None:
        """Enter a label file that names another picture that exists as well."""
        if not (parts := path_parts(stated)) or os.path.splitext(parts[-1])[0] == found.stem:
            return
        others = self.index.find(stated, label.parent)
        if len(others) == 1 and others != [found] and others[0].stem != found.stem:
            ledger.add(
                Kind.RENAMED, f"{ledger.name(label)} (names {ledger.name(others[0])}, is beside {ledger.name(found)})"
            )


def count(number: int, noun: str) -> str:
    """A number with its noun, in the plural if needed."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
