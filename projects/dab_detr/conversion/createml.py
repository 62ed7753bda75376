"""CreateML: one JSON file for the pictures of a folder. Boxes have a center and a size in pixels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .damage import Damage, shown
from .inventory import Inventory
from .items import finite, make_item, plain_picture
from .layout import SPLITS, Layout, Split, split_name
from .ledger import Kind, Ledger
from .lookup import PathIndex
from .picture import Size, look_at
from .records import Item, Picture, Records, numbered
from .text import read_json

NAMES = ("image", "imagefilename", "filename")


@dataclass(frozen=True, kw_only=True)
class CreatemlLayout(Layout):
    """A dataset in CreateML's format. labels: split -> its files."""

    labels: dict[str, list[Path]]
    format = "CreateML"
    folder_of = Layout.folder_by_structure

    def read(self, ledger: Ledger) -> Records:
        """See Layout."""
        index = PathIndex(self.inventory.folder, self.inventory.pictures)
        pictures: dict[str, list[Picture]] = {split: [] for split in self.labels}
        for split, paths in self.labels.items():
            for path in paths:
                with ledger.collecting():
                    found = (self.picture(path, i, entry, index, ledger) for i, entry in enumerate(read_list(path)))
                    pictures[split] += [picture for picture in found if picture]
        names = {item.name for some in pictures.values() for picture in some for item in picture.items}
        return Records(categories=numbered(names), pictures=pictures)

    def picture(self, path: Path, number: int, entry: Any, index: PathIndex, ledger: Ledger) -> Picture | None:
        """Return the picture of an entry with its objects; None if it is damaged or does not exist."""
        with ledger.collecting():
            name = picture_name(entry, path, number)
            objects = entry.get("annotations", entry.get("annotation"))
            if not isinstance(objects, list):
                raise Damage(path, name, f"annotations must be a list, got {objects!r:.60}")
            found = index.find(name, path.parent)
            if len(found) > 1 and (exact := index.exact(name, index.folder)):
                found = [exact]
            if len(found) > 1:
                raise Damage(path, name, f"may be {' or '.join(map(shown, found))}: add its folder to the name")
            if not found:
                ledger.add(Kind.NO_PICTURE, f"{name} of {ledger.name(path)} ({len(objects)} objects)")
                return None
            with ledger.collecting(found[0]):
                look = look_at(found[0])
                size = look.size
                items = [createml_item(x, path, f"{name}, annotation {i}", size, ledger) for i, x in enumerate(objects)]
                return plain_picture(found[0], look, items)
        return None


def read_list(path: Path) -> list:
    """Return the entries of a file of CreateML. Raises Damage."""
    content = read_json(path)
    if not isinstance(content, list):
        raise Damage(path, "", f"must be a list with an entry for each picture, got {content!r:.60}")
    return content


def picture_name(entry: Any, path: Path, number: int) -> str:
    """The name of the picture of an entry. Raises Damage without one."""
    names = [entry.get(key) for key in NAMES] if isinstance(entry, dict) else []
    found = next((name for name in names if isinstance(name, str) and name), None)
    if found is None:
        raise Damage(path, f"entry {number}", f"names no picture: {entry!r:.60}")
    return found


def createml_item(node: Any, path: Path, entry: str, size: Size, ledger: Ledger) -> Item | None:
    """Return an object of CreateML; None, with an entry, if it has no area. Raises Damage."""
    place = node.get("coordinates") if isinstance(node, dict) else None
    if not isinstance(place, dict):
        raise Damage(path, entry, f"has no coordinates: {node!r:.60}")
    if not isinstance(node.get("label"), str) or not node["label"].strip():
        raise Damage(path, entry, "has no label")
    x, y, w, h = (finite(place.get(key), key, path, entry) for key in ("x", "y", "width", "height"))
    points = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
    where = f"{ledger.name(path)}, {entry}"
    if min(w, h) < 0:
        ledger.add(Kind.SWAPPED, where)
    return make_item(name=node["label"].strip(), points=points, size=size, place=where, ledger=ledger)


def find_createml(inventory: Inventory, source: Path, labels: list[Path]) -> Layout | None:
    """Return the layout of a folder with these files of CreateML, or None if there are none."""
    by_split: dict[str, list[Path]] = {}
    for path in labels:
        parts = (*inventory.relative(path)[:-1], path.stem)
        by_split.setdefault(next(filter(None, map(split_name, parts)), "train"), []).append(path)
    if not labels:
        return None
    splits = tuple(Split(name=name, folder=inventory.folder, pictures=()) for name in SPLITS if name in by_split)
    return CreatemlLayout(source=source, inventory=inventory, splits=splits, labels=by_split)
