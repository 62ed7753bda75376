"""YOLO: a text file for each picture, and a data.yaml, or a list of class names, for all of them."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .damage import Damage, shown
from .inventory import Inventory
from .items import make_item, plain_picture
from .layout import Layout, splits_by_folder
from .ledger import Kind, Ledger
from .lookup import fold
from .picture import Look, look_at
from .records import Item, Picture, Records
from .yolo_labels import NAME_FILES, LabelFiles, count_rows, has_rows, label_paths
from .yolo_poses import find_poses
from .yolo_rows import Row, read_rows
from .yolo_yaml import names_of_file


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
        found = {path: labels.of(path) for split in self.splits for path in split.pictures}
        shape = self.keypoint_shape or self.guess_shape(filter(None, found.values()), ledger)
        pictures = {
            split.name: [x for path in split.pictures if (x := self.picture(path, found[path], shape, ledger))]
            for split in self.splits
        }
        for path in labels.orphans(self.lists):
            with ledger.collecting():
                place = f"{ledger.name(path)} ({count_rows(path)} objects)"
                if picture := labels.seconds.get(path):
                    ledger.add(Kind.SECOND, f"{place} of {ledger.name(picture)}")
                else:
                    ledger.add(Kind.ORPHAN, place)
        for label, holders in labels.holders.items():
            if len(holders) > 1:
                ledger.add(Kind.SHARED, f"{', '.join(map(ledger.name, sorted(holders)))} by {ledger.name(label)}")
        self.enter_other_formats([path for path, label in found.items() if label is None], ledger)
        if not labels.holders and any(split.pictures for split in self.splits):
            raise self.without_labels()
        return Records(categories={name: {"id": i, "name": name} for i, name in self.names.items()}, pictures=pictures)

    def enter_other_formats(self, unlabeled: Iterable[Path], ledger: Ledger) -> None:
        """Enter the pictures without a label file of YOLO for which one of Pascal VOC or LabelMe may exist."""
        others: dict[str, list[Path]] = defaultdict(list)
        for path in self.inventory.named(".xml", ".json"):
            others[fold(path.stem)].append(path)
        for picture in unlabeled:
            if files := others.get(fold(picture.stem)):
                ledger.add(Kind.OTHER_FORMAT, f"{ledger.name(picture)} with {', '.join(map(ledger.name, files))}")

    def guess_shape(self, labels: Iterable[Path], ledger: Ledger) -> tuple[int, int] | None:
        """Return the shape of the key points if all label files together show that they hold poses. Enter doubts."""
        poses = find_poses(dict.fromkeys(labels))
        for label, line in poses.unclear:
            ledger.add(Kind.POSE_OR_OUTLINE, f"{ledger.name(label)}, line {line}")
        return poses.keypoint_shape

    def picture(
        self, path: Path, label: Path | None, keypoint_shape: tuple[int, int] | None, ledger: Ledger
    ) -> Picture | None:
        """Return a picture with the objects of its label file; None if one of the two is damaged."""
        with ledger.collecting(path):
            rows = read_rows(label, self.names, keypoint_shape) if label else []
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


def find_yolo_folder(
    inventory: Inventory,
    source: Path,
    names: dict[int, str] | None = None,
    keypoint_shape: tuple[int, int] | None = None,
) -> Layout:
    """Return the layout of a folder with label files of YOLO and no data.yaml that names its splits.

    names: the class names, if known.
    keypoint_shape: see yolo_rows.
    Raises ValueError without names, either given or in a file.
    """
    understood: tuple[str, ...] = ()
    if names is None:
        names, told = names_of_folder(inventory, source)
        understood = (told,)
    return YoloLayout(
        source=source,
        inventory=inventory,
        splits=splits_by_folder(inventory),
        names=names,
        keypoint_shape=keypoint_shape,
        understood=understood,
    )


def names_of_folder(inventory: Inventory, source: Path) -> tuple[dict[int, str], str]:
    """Return the class names that a file of the folder lists, and a sentence that says so. Raises ValueError."""
    files = name_files(inventory)
    tables = [names_of_file(path) for path in files]
    if not tables:
        raise ValueError(
            f"{shown(source)} has label files of YOLO, and neither a data.yaml nor a classes.txt says what their "
            "numbers mean: write a classes.txt with one class name in each line"
        )
    if any(table != tables[0] for table in tables):
        raise Damage(files[0], "", f"lists other names than {shown(files[1])}: remove the wrong one")
    return tables[0], f"class names are those of {shown(files[0])}"
