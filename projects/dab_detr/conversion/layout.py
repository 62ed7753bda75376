"""The layout of a dataset in its folder: the pictures of each split."""

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .damage import shown
from .inventory import Inventory
from .ledger import Ledger
from .records import Records

SPLITS = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}
SPLIT_NAMES = {alias: name for name, aliases in SPLITS.items() for alias in aliases}
IMAGE_FOLDERS = {"images", "image", "imgs", "img", "jpegimages", "pictures"}
LABEL_FOLDERS = {"annotations", "annotation", "labels", "label", "xmls", "xml"}


@dataclass(frozen=True, kw_only=True)
class Split:
    """A part of a dataset. folder: the folder that the file names of its annotation file will start from."""

    name: str
    folder: Path
    pictures: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A recognized dataset, which has not been read yet; each format has its subclass.

    source: the folder or file that was recognized.
    splits: its parts, by the names train, val and test.
    understood: sentences about everything else that was recognized.
    """

    source: Path
    inventory: Inventory
    splits: tuple[Split, ...]
    understood: tuple[str, ...] = ()

    format = ""

    def read(self, ledger: Ledger) -> Records:
        """Return the pictures of all splits with their objects; enter in the ledger what is damaged or left out."""
        raise NotImplementedError

    def folder_of(self, split: str, pictures: Iterable[Path]) -> Path:
        """The folder that the file names of a split's pictures start from."""
        folder = next(x.folder for x in self.splits if x.name == split)
        return common([folder, *(path.parent for path in pictures)])

    def folder_by_structure(self, split: str, pictures: Iterable[Path]) -> Path:
        """The same for formats in which annotation files, not folders, define the splits."""
        return image_folder(self.inventory, pictures) if pictures else self.inventory.folder

    def sources(self) -> set[Path]:
        """The files that hold the labels and must not be replaced."""
        return set(self.inventory.others)

    def __str__(self) -> str:
        parts = [f"{x.name} with {len(x.pictures)} pictures" if x.pictures else x.name for x in self.splits]
        return "; ".join([f"{shown(self.source)} is a dataset of {self.format}: {', '.join(parts)}", *self.understood])


def split_name(part: str) -> str | None:
    """The split in the name of a folder or file: train, val or test; None for any other name.

    A year may follow (train2017), and Darknet's obj_train_data is train.
    """
    match = re.fullmatch(r"(?:obj_)?([a-z]+?)(?:_data)?(?:_?\d{4})?", part.lower())
    return SPLIT_NAMES.get(match[1]) if match else None


def splits_by_folder(inventory: Inventory) -> tuple[Split, ...]:
    """Sort the pictures by the folders called train, val or test. Without such folders, all pictures are train.

    Pictures outside these folders belong to no split.
    """
    found: dict[str, list[Path]] = defaultdict(list)
    for path in inventory.pictures:
        name = next(filter(None, map(split_name, inventory.relative(path)[:-1])), None)
        if name:
            found[name].append(path)
    if not found and inventory.pictures:
        found["train"] = list(inventory.pictures)
    return tuple(
        Split(name=name, folder=image_folder(inventory, found[name]), pictures=tuple(found[name]))
        for name in SPLITS
        if name in found
    )


def image_folder(inventory: Inventory, pictures: Iterable[Path]) -> Path:
    """The folder that the file names of these pictures start from: the deepest that is only structure for all of them.

    Folders called images or after a split are structure; a folder below them belongs to the file name.
    """
    return common({inventory.folder.joinpath(*structure(inventory.relative(path)[:-1])) for path in pictures})


def structure(folders: tuple[str, ...]) -> tuple[str, ...]:
    """The leading folders through the first run of structure folders; empty if no folder is structure."""
    marks = [bool(split_name(part)) or part.lower() in IMAGE_FOLDERS for part in folders]
    if True not in marks:
        return ()
    end = marks.index(True)
    while end < len(marks) and marks[end]:
        end += 1
    return folders[:end]


def common(folders: Iterable[Path]) -> Path:
    """The deepest folder that contains all of these."""
    return Path(os.path.commonpath(list(folders)))
