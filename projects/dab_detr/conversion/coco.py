"""COCO: one JSON file for each split, as Roboflow, CVAT, Label Studio and COCO itself lay them out."""

import os
import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.content import has_size
from .coco_file import CocoFile, read_coco
from .coco_item import coco_item
from .damage import Damage, shown
from .inventory import Inventory
from .items import checked_size, plain_picture
from .layout import SPLITS, Layout, Split, split_name
from .ledger import Kind, Ledger
from .lookup import PathIndex
from .picture import look_at
from .records import Picture, Records


@dataclass(frozen=True, kw_only=True)
class CocoLayout(Layout):
    """A dataset in COCO's format. files: split -> its annotation file."""

    files: dict[str, Path]
    format = "COCO"
    folder_of = Layout.folder_by_structure

    def read(self, ledger: Ledger) -> Records:
        """See Layout."""
        index = PathIndex(self.inventory.folder, self.inventory.pictures)
        contents = {}
        for name, path in self.files.items():
            with ledger.collecting():
                contents[name] = read_coco(path)
        categories = shared_categories(contents, ledger)
        pictures = {name: self.split_pictures(content, index, ledger) for name, content in contents.items()}
        for name, some in pictures.items():
            items = [item for picture in some for item in picture.items]
            if items and all(item.extra.get("iscrowd") for item in items):
                ledger.add(Kind.CROWDS, f"{name} of {ledger.name(self.files[name])}")
        return Records(categories=categories, pictures=pictures)

    def split_pictures(self, content: CocoFile, index: PathIndex, ledger: Ledger) -> list[Picture]:
        """Return the pictures of a file. Enter annotations without a picture in the ledger."""
        for node in content.strays:
            ledger.add(Kind.ORPHAN_OBJECT, f"annotation {node.get('id')} of {ledger.name(content.path)}")
        found = (self.picture(image, content, index, ledger) for image in content.images)
        return [picture for picture in found if picture]

    def picture(self, image: dict, content: CocoFile, index: PathIndex, ledger: Ledger) -> Picture | None:
        """Return an image of the file with its objects; None if it is damaged or does not exist."""
        name, nodes, path = image["file_name"], content.annotations[image["id"]], None
        with ledger.collecting():
            path = find_picture(name, content.path, index)
            if path is None:
                ledger.add(Kind.NO_PICTURE, f"{name} of {ledger.name(content.path)} ({len(nodes)} objects)")
                return None
            plain = os.path.normpath(name.replace("\\", "/"))
            if not str(path).endswith(os.sep + plain.lstrip("/")):
                ledger.add(Kind.FOREIGN, f"{name} of {ledger.name(content.path)}")
        if path is None:
            return None
        with ledger.collecting(path):
            look = look_at(path)
            stated = (int(image["width"]), int(image["height"])) if has_size(image) else None
            turned = checked_size(look, stated, ledger.name(path), ledger)
            items = [coco_item(node, content, look, turned, ledger) for node in nodes]
            picture = plain_picture(path, look, items)
            picture.extra = {k: v for k, v in image.items() if k not in ("file_name", "width", "height")}
            return picture
        return None


def find_picture(name: str, path: Path, index: PathIndex) -> Path | None:
    """Find the picture for a file name in an annotation file. Returns None if there is none.

    Raises Damage if several pictures fit.
    """
    found = index.find(name, path.parent)
    if len(found) > 1:
        split = file_split(path, index.folder)
        same = [x for x in found if split in map(split_name, x.relative_to(index.folder).parts[:-1])]
        found = same or found
    if len(found) > 1:
        raise Damage(path, f"image {name!r}", f"may be {' or '.join(map(shown, found))}: add its folder to file_name")
    return found[0] if found else None


def file_split(path: Path, folder: Path) -> str:
    """The split of an annotation file, by its folders and then by the words of its name; train by default."""
    *folders, _ = path.relative_to(folder).parts
    words = re.split(r"[^A-Za-z0-9]+", path.stem)
    return next(filter(None, map(split_name, [*words, *folders])), "train")


def shared_categories(contents: dict[str, CocoFile], ledger: Ledger) -> dict[str, dict[str, Any]]:
    """Return the categories of all files by name. Their ids are kept unless the files contradict each other."""
    used = {content.names[node["category_id"]] for content in contents.values() for node in content.all_nodes()}
    found: dict[str, dict[str, Any]] = {}
    holders: dict[int, set[str]] = defaultdict(set)
    agree = True
    for content in contents.values():
        groups = content.groups() - used
        for name in sorted(groups):
            ledger.add(Kind.GROUP, f"{name!r} of {ledger.name(content.path)}")
        for category in content.categories:
            name = category["name"]
            if name in groups:
                continue
            agree &= found.setdefault(name, category)["id"] == category["id"]
            holders[category["id"]].add(name)
    if not agree or any(len(names) > 1 for names in holders.values()):
        ledger.add(Kind.RENUMBERED, ", ".join(sorted(found)))
        return {name: {**found[name], "id": i} for i, name in enumerate(sorted(found), 1)}
    return dict(sorted(found.items(), key=lambda pair: pair[1]["id"]))


def find_coco(inventory: Inventory, source: Path, labels: list[Path]) -> Layout | None:
    """Return the layout of a folder with these annotation files, or None if there are none.

    Raises ValueError if two files belong to one split. Among COCO's own files, only those of instances count.
    """
    if not labels:
        return None
    files: dict[str, Path] = {}
    for path in labels:
        name = file_split(path, inventory.folder)
        if name in files:
            both = [x for x in (files[name], path) if x.name.startswith("instances")]
            if len(both) != 1:
                raise ValueError(
                    f"{shown(source)}: {shown(files[name])} and {shown(path)} are both annotation files of {name}: "
                    "keep one of them in the folder, or name them after their splits"
                )
            path = both[0]
        files[name] = path
    splits = []
    for name in SPLITS:
        if name in files:
            splits.append(Split(name=name, folder=inventory.folder, pictures=()))
    return CocoLayout(
        source=source,
        inventory=inventory,
        splits=tuple(splits),
        files={split.name: files[split.name] for split in splits},
    )
