"""YOLO: a text file for each picture, and a data.yaml, or a list of class names, for all of them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from .damage import Damage, shown
from .inventory import Inventory
from .items import make_item, plain_picture
from .layout import IMAGE_FOLDERS, LABEL_FOLDERS, Layout, splits_by_folder
from .ledger import Kind, Ledger
from .lookup import fold
from .picture import Look, look_at
from .records import Item, Picture, Records
from .text import read_lines
from .yolo_rows import Row, read_rows
from .yolo_yaml import names_of_file

NAME_FILES = {"classes.txt", "obj.names", "_darknet.labels", "labels.names", "class_names.txt"}
OTHER_TEXTS = NAME_FILES | {"train.txt", "val.txt", "valid.txt", "test.txt", "requirements.txt", "notes.txt"}


@dataclass(frozen=True, kw_only=True)
class YoloLayout(Layout):
    """A dataset in YOLO's format.

    names: class names by their numbers. The numbers become the ids of the categories.
    keypoint_shape: see yolo_rows.
    noted: notes about the splits, for the ledger.
    lists: text files that list pictures.
    """

    names: dict[int, str]
    keypoint_shape: tuple[int, int] | None = None
    noted: tuple[tuple[Kind, str], ...] = ()
    lists: frozenset[Path] = frozenset()
    format = "YOLO"

    def read(self, ledger: Ledger) -> Records:
        """See Layout."""
        for kind, place in self.noted:
            ledger.add(kind, place)
        labels = LabelFiles(self.inventory)
        pictures = {
            split.name: list(filter(None, (self.picture(path, labels, ledger) for path in split.pictures)))
            for split in self.splits
        }
        for path in labels.orphans(self.lists):
            rows = sum(1 for line in read_lines(path) if line.strip())
            ledger.add(Kind.ORPHAN, f"{ledger.name(path)} ({rows} objects)")
        for label, holders in labels.holders.items():
            if len(holders) > 1:
                ledger.add(Kind.SHARED, f"{', '.join(map(ledger.name, sorted(holders)))} by {ledger.name(label)}")
        if not labels.holders and any(split.pictures for split in self.splits):
            raise self.without_labels()
        return Records(categories={name: {"id": i, "name": name} for i, name in self.names.items()}, pictures=pictures)

    def picture(self, path: Path, labels: "LabelFiles", ledger: Ledger) -> Picture | None:
        """Return a picture with its objects; None if it or its label file is damaged."""
        with ledger.collecting(path):
            label = labels.of(path)
            rows = read_rows(label, self.names, self.keypoint_shape) if label else []
            look = look_at(path)
            items = [yolo_item(row, label, look, ledger) for row in rows]
            return plain_picture(path, look, items, labeled=label is not None)
        return None

    def without_labels(self) -> ValueError:
        """The error for a dataset in which no picture has a label file."""
        split = next(split for split in self.splits if split.pictures)
        where = shown(next(label_paths(split.pictures[0])))
        return ValueError(
            f"{shown(self.source)}: no picture has a label file; that of {shown(split.pictures[0])} would be {where}"
        )


class LabelFiles:
    """The label files of YOLO below a folder. holders: label file -> the pictures that it labels."""

    def __init__(self, inventory: Inventory):
        self.inventory = inventory
        self.known = {fold(str(path)): path for path in inventory.named(".txt")}
        self.holders: dict[Path, set[Path]] = {}

    def of(self, picture: Path) -> Path | None:
        """Return the label file of a picture, or None."""
        for path in label_paths(picture):
            found = self.known.get(fold(str(path))) or (path if path.is_file() else None)
            if found:
                self.holders.setdefault(found, set()).add(picture)
                return found
        return None

    def orphans(self, lists: Iterable[Path] = ()) -> list[Path]:
        """Return the label files without a picture: text files in a place for labels, or with rows of numbers."""
        folders = {path.parent for path in self.holders}
        free = [x for x in self.known.values() if x not in self.holders and x not in set(lists)]
        return [
            path
            for path in free
            if path.name.lower() not in OTHER_TEXTS
            and not path.name.lower().startswith("readme")
            and (path.parent in folders or has_rows(path))
        ]


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


def yolo_item(row: Row, label: Path, look: Look, ledger: Ledger) -> Item | None:
    """Return the object of a row, in pixels. YOLO's fractions refer to the picture as it is shown."""
    width, height = look.size
    points = [value * (height if i % 2 else width) for i, value in enumerate(row.points)]
    place = f"{ledger.name(label)}, line {row.line}"
    if row.score:
        ledger.add(Kind.SCORES, place)
    outlines = [points] if row.outline else []
    return make_item(name=row.name, points=points, size=look.size, place=place, ledger=ledger, outlines=outlines)


def has_yolo_labels(inventory: Inventory) -> bool:
    """Whether a picture of the folder has a label file of YOLO with rows, or an empty one beside a list of names."""
    labels = LabelFiles(inventory)
    found = [path for path in map(labels.of, inventory.pictures) if path]
    return any(map(has_rows, found)) or bool(found and name_files(inventory))


def name_files(inventory: Inventory) -> list[Path]:
    """The files of a folder that list class names."""
    return [path for path in inventory.others if path.name.lower() in NAME_FILES]


def find_yolo_folder(inventory: Inventory, source: Path, names: dict[int, str] | None = None) -> Layout:
    """Return the layout of a folder with label files of YOLO and no data.yaml that names its splits.

    names: the class names, if known. Raises ValueError without names, either given or in a file.
    """
    files = name_files(inventory)
    tables = [names_of_file(path) for path in files] if names is None else [names]
    if not tables:
        raise ValueError(
            f"{shown(source)} has label files of YOLO, and neither a data.yaml nor a classes.txt says what their "
            "numbers mean: write a classes.txt with one class name in each line"
        )
    if any(table != tables[0] for table in tables):
        raise Damage(files[0], "", f"lists other names than {shown(files[1])}: remove the wrong one")
    understood = (f"class names are those of {shown(files[0])}",) if names is None else ()
    return YoloLayout(
        source=source,
        inventory=inventory,
        splits=splits_by_folder(inventory),
        names=tables[0],
        understood=understood,
    )
