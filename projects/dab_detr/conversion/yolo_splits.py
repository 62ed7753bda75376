"""The splits that YOLO's data.yaml names: folders, lists of folders, and text files that list pictures."""

import os
from pathlib import Path
from typing import Any

from .damage import Damage, brief, shown
from .inventory import Inventory, picture_suffixes, take_inventory
from .layout import SPLITS, Layout, Split, common
from .ledger import Kind
from .lookup import locate, locate_all
from .text import read_lines
from .yolo import YoloLayout, find_yolo_folder, name_files, names_of_folder
from .yolo_yaml import NOTHING, keypoint_shape, names_splits, read_darknet, read_names, read_yaml


def find_yolo(path: Path) -> Layout:
    """Return the layout that a data.yaml, or Darknet's obj.data, describes. Raises Damage, which names the fault."""
    content = read_darknet(path) if path.suffix.lower() == ".data" else read_yaml(path)
    names, told = find_names(content, path)
    shape = keypoint_shape(content, path)
    path = Path(os.path.abspath(path))
    reader = SplitReader(path, content)
    splits = [split for name in SPLITS if (split := reader.split(name))]
    if not splits and not reader.stated:
        return find_yolo_folder(take_inventory(path.parent), path, names, shape)
    if not splits:
        gone = [place for kind, place in reader.noted if kind is Kind.NO_PICTURE]
        reason = f": no listed picture exists ({len(gone)} lines), the first is {gone[0]}" if gone else ""
        raise Damage(path, "", f"none of its splits has a picture{reason}")
    return YoloLayout(
        source=path,
        inventory=reader.inventory(),
        splits=tuple(splits),
        names=names,
        keypoint_shape=shape,
        noted=tuple(reader.noted),
        lists=frozenset(reader.lists),
        understood=(*told, *reader.understood),
    )


def find_names(content: dict[str, Any], path: Path) -> tuple[dict[int, str], tuple[str, ...]]:
    """Return the class names of a data.yaml. If it has none, those of a classes.txt, and a sentence that says so."""
    described = names_splits(content) or path.suffix.lower() == ".data"
    inventory = take_inventory(path.parent) if "names" not in content and described else None
    if inventory is None or not name_files(inventory):
        return read_names(content, path), ()
    names, told = names_of_folder(inventory, path)
    return names, (told,)


class SplitReader:
    """Reads the splits of a data.yaml and remembers where it had to look.

    folders: the folders with pictures of a split. noted: entries for the ledger.
    """

    def __init__(self, path: Path, content: dict[str, Any]):
        self.path = path
        self.content = {key: x for key, x in content.items() if not (isinstance(x, str) and x.strip() in NOTHING)}
        self.noted: list[tuple[Kind, str]] = []
        self.understood: list[str] = []
        self.folders: list[Path] = []
        self.lists: list[Path] = []
        self.stated = False
        self.suffixes = picture_suffixes()
        self.root = self.dataset_root()

    def dataset_root(self) -> Path:
        """The folder that `path:` means. The folder of data.yaml if it is blank or comes from another machine."""
        stated = self.content.get("path") or ""
        if not isinstance(stated, str):
            raise Damage(self.path, "path", f"must be one folder, got {brief(stated)}")
        if not stated.strip():
            return self.path.parent
        found = Path(os.path.normpath(self.path.parent / os.path.expanduser(stated)))
        if found.is_dir():
            return found
        found, _ = locate(stated, [self.path.parent])
        self.noted.append((Kind.FOREIGN, f"path: {stated} of {shown(self.path)}"))
        return found if found and found.is_dir() else self.path.parent

    def split(self, name: str) -> Split | None:
        """Return a split by any of its names, or None if data.yaml lacks it or it has no pictures."""
        keys = [key for key in SPLITS[name] if self.content.get(key)]
        if len(keys) > 1:
            raise Damage(self.path, "", f"has both {keys[0]!r} and {keys[1]!r}: remove one of them")
        if not keys:
            return None
        self.stated = True
        entries = self.content[keys[0]]
        entries = entries if isinstance(entries, list) else [entries]
        pictures: dict[Path, None] = {}
        folders = []
        for entry in entries:
            found, folder = self.entry(entry, keys[0])
            self.noted += [(Kind.TWICE, f"{shown(x)} in {name}") for x in found if x in pictures]
            pictures.update(dict.fromkeys(found))
            folders.append(folder)
        if not pictures:
            self.understood.append(f"{name} has no pictures")
            return None
        below = common(folders)
        if any(entry_is_list(entry) for entry in entries) and all(x.is_relative_to(self.root) for x in pictures):
            below = self.root
        return Split(name=name, folder=below, pictures=tuple(pictures))

    def entry(self, entry: Any, key: str) -> tuple[list[Path], Path]:
        """Return the pictures of one entry of a split, and the folder that they lie in."""
        if not isinstance(entry, str) or not entry.strip():
            raise Damage(self.path, key, f"must be a folder, a list of folders or a .txt file: {brief(entry)}")
        found, foreign = locate(os.path.expanduser(entry.strip()), [self.root, self.path.parent])
        if found is None:
            raise Damage(
                self.path,
                key,
                f"{entry!r} does not exist below {shown(self.root)}: mend the path, or remove the line"
                + (" and ask for --val-fraction" if key in SPLITS["val"] else ""),
            )
        if foreign:
            self.noted.append((Kind.FOREIGN, f"{key}: {entry} of {shown(self.path)}"))
        if found.is_dir():
            self.folders.append(found)
            return list(take_inventory(found).pictures), found
        if found.suffix.lower() in self.suffixes:
            return [found], found.parent
        return self.listed(found)

    def listed(self, path: Path) -> tuple[list[Path], Path]:
        """Return the pictures that a text file lists, and the folder that contains all of them."""
        self.lists.append(path)
        pictures: dict[Path, None] = {}
        for line, found, foreign in locate_all(read_lines(path), [path.parent, self.root, self.path.parent]):
            if found is None or not found.is_file():
                self.noted.append((Kind.NO_PICTURE, f"{line} of {shown(path)}"))
                continue
            if foreign:
                self.noted.append((Kind.FOREIGN, f"{line} of {shown(path)}"))
            if found in pictures:
                self.noted.append((Kind.TWICE, f"{line} of {shown(path)}"))
            pictures[found] = None
        folder = common([x.parent for x in pictures] or [path.parent])
        self.folders.append(folder)
        return list(pictures), folder

    def inventory(self) -> Inventory:
        """List the files of the dataset's folder, and of folders elsewhere that its splits use, with their labels."""
        elsewhere = [folder for folder in self.folders if not folder.is_relative_to(self.root)]
        folders = [self.root]
        for folder in elsewhere:
            head, images, tail = str(folder).rpartition("images")
            folders += [folder, *([Path(f"{head}labels{tail}")] if images else [])]
        parts = [take_inventory(folder) for folder in folders if folder.is_dir()]
        kinds = ("pictures", "foreign", "others")
        files = {kind: tuple(sorted({x for part in parts for x in getattr(part, kind)})) for kind in kinds}
        return Inventory(folder=common([self.root, *elsewhere]), **files)


def entry_is_list(entry: Any) -> bool:
    """Whether an entry of a split is a text file that lists pictures."""
    return isinstance(entry, str) and entry.strip().lower().endswith(".txt")
