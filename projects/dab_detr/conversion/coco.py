"""COCO: one JSON file for each split, as Roboflow, CVAT, Label Studio and COCO itself lay them out."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable
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
from .lookup import PathIndex, is_elsewhere
from .picture import look_at
from .records import Picture, Records

# the picture of each file name in an annotation file, and whether its folders differ; None if there is none
Paths = dict[tuple[Path, str], tuple[Path | None, bool]]


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
        paths = find_pictures(contents.values(), index, ledger)
        pictures = {name: self.split_pictures(content, paths, ledger) for name, content in contents.items()}
        for name, some in pictures.items():
            items = [item for picture in some for item in picture.items]
            if items and all(item.extra.get("iscrowd") for item in items):
                ledger.add(Kind.CROWDS, f"{name} of {ledger.name(self.files[name])}")
        return Records(categories=categories, pictures=pictures)

    def split_pictures(self, content: CocoFile, paths: Paths, ledger: Ledger) -> list[Picture]:
        """Return the pictures of a file. Enter annotations without a picture in the ledger."""
        for node in content.strays:
            ledger.add(Kind.ORPHAN_OBJECT, f"annotation {node.get('id')} of {ledger.name(content.path)}")
        found = (self.picture(image, content, paths, ledger) for image in content.images)
        return [picture for picture in found if picture]

    def picture(self, image: dict, content: CocoFile, paths: Paths, ledger: Ledger) -> Picture | None:
        """Return an image of the file with its objects; None if it is damaged or does not exist."""
        name, nodes = image["file_name"], content.annotations[image["id"]]
        if (content.path, name) not in paths:
            return None
        path, foreign = paths[content.path, name]
        if path is None:
            ledger.add(Kind.NO_PICTURE, f"{name} of {ledger.name(content.path)} ({len(nodes)} objects)")
            return None
        if foreign:
            ledger.add(Kind.FOREIGN, f"{name} of {ledger.name(content.path)}")
        with ledger.collecting(path):
            look = look_at(path)
            stated = (int(image["width"]), int(image["height"])) if has_size(image) else None
            turned = checked_size(look, stated, ledger.name(path), ledger)
            items = [coco_item(node, content, look, turned, ledger) for node in nodes]
            picture = plain_picture(path, look, items)
            picture.extra = {k: v for k, v in image.items() if k not in ("file_name", "width", "height")}
            return picture
        return None


def find_pictures(contents: Iterable[CocoFile], index: PathIndex, ledger: Ledger) -> Paths:
    """Find the picture for each file name in all annotation files. A name that fits several is damage and left out.

    If several names from another machine fit one picture, the name that shares the most folders with its path gets it.
    A relative name with other folders gets none if other names in its file are found as written.
    """
    found: dict[tuple[Path, str], Path | None] = {}
    reach: dict[tuple[Path, str], float] = {}
    best: dict[Path, float] = {}
    for content in contents:
        for name in dict.fromkeys(image["file_name"] for image in content.images):
            with ledger.collecting():
                path = find_picture(name, content.path, index)
                found[content.path, name] = path
                if path:
                    reach[content.path, name] = index.reach(name, path)
                    best[path] = max(best.get(path, 0), reach[content.path, name])
    here = {file for (file, _), shared in reach.items() if shared == math.inf}
    paths: Paths = {}
    for (file, name), path in found.items():
        shared = reach.get((file, name), 0)
        if path and (shared < best[path] or (shared < math.inf and file in here and not is_elsewhere(name))):
            path = None
        paths[file, name] = (path, shared < math.inf)
    return paths


def find_picture(name: str, path: Path, index: PathIndex) -> Path | None:
    """Find the picture for a file name in an annotation file. Returns None if there is none.

    Raises Damage if several pictures fit.
    """
    found = index.find(name, path.parent)
    if len(found) > 1:
        split = file_split(path, index.folder)
        same = [x for x in found if split in map(split_name, x.relative_to(index.folder).parts[:-1])]
        found = same or found
    if len(found) > 1 and (exact := index.exact(name, index.folder)):
        found = [exact]
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
