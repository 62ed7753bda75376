"""The label files of YOLO: which of them belongs to a picture, and which to none."""

from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from .inventory import Inventory
from .layout import IMAGE_FOLDERS, LABEL_FOLDERS
from .lookup import fold
from .text import read_lines

NAME_FILES = {"classes.txt", "obj.names", "_darknet.labels", "labels.names", "class_names.txt"}
OTHER_TEXTS = NAME_FILES | {"train.txt", "val.txt", "valid.txt", "test.txt", "requirements.txt", "notes.txt"}


class LabelFiles:
    """The label files of YOLO below a folder.

    holders: label file -> the pictures that it labels.
    seconds: label file that a picture could have, but that loses to the usual one -> the picture.
    """

    def __init__(self, inventory: Inventory):
        self.paths = dict.fromkeys(inventory.named(".txt"))
        self.known = {fold(str(path)): path for path in self.paths}
        self.names = Counter(path.name for path in self.paths)
        self.holders: dict[Path, set[Path]] = {}
        self.seconds: dict[Path, Path] = {}

    def of(self, picture: Path) -> Path | None:
        """Return the label file of a picture, or None. A file that is spelled as the picture comes first."""
        found = None
        for path in label_paths(picture):
            if found is None:
                found = self.existing(path)
            elif self.names[path.name] < 2:
                break
            elif path in self.paths and path != found:
                self.seconds.setdefault(path, picture)
        if found:
            self.holders.setdefault(found, set()).add(picture)
        return found

    def existing(self, path: Path) -> Path | None:
        """Return the label file at a path, or None. Its name may differ in case if no file has this very name."""
        return path if path in self.paths else self.known.get(fold(str(path))) or (path if path.is_file() else None)

    def orphans(self, lists: Iterable[Path] = ()) -> list[Path]:
        """Return the label files without a picture: text files in a place for labels, or with rows of numbers."""
        folders, lists = {path.parent for path in self.holders}, set(lists)
        free = [path for path in self.paths if path not in self.holders and path not in lists]
        return [path for path in free if path.parent in folders and not other_text(path) or has_rows(path)]


def other_text(path: Path) -> bool:
    """Whether a text file usually holds something else than labels."""
    name = path.name.lower()
    return name in OTHER_TEXTS or name.startswith("readme")


def label_paths(picture: Path) -> Iterator[Path]:
    """The paths at which YOLO's label file of a picture may lie, the usual one first.

    It lies in a folder called labels instead of the last one called images, beside the picture, or in a folder called
    labels near it.
    """
    parts, name = picture.parent.parts, f"{picture.stem}.txt"
    for i in reversed(range(len(parts))):
        if parts[i].lower() in IMAGE_FOLDERS:
            yield Path(*parts[:i], "labels", *parts[i + 1 :], name)
    yield picture.with_name(name)
    yield picture.parent / "labels" / name
    if len(parts) > 1 and parts[-1].lower() in IMAGE_FOLDERS:
        for folder in sorted(LABEL_FOLDERS):
            yield picture.parent.parent / folder / name


def has_rows(path: Path) -> bool:
    """Whether the first line of a text file is a row of at least 5 numbers."""
    try:
        columns = next((line.split() for line in read_lines(path) if line.strip()), [])
        return len(columns) >= 5 and all(float(x) is not None for x in columns)
    except ValueError:
        return False


def count_rows(path: Path) -> int:
    """Return the number of rows of a label file. Raises Damage if it cannot be read."""
    return sum(1 for line in read_lines(path) if line.strip())
