"""The ledger of a conversion: everything that did not go straight from the source into the output."""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path

from ..doctor.finding import Finding, Severity
from .damage import Damage, shown

_WARNING, _NOTE = Severity.WARNING, Severity.NOTE


class Kind(Enum):
    """The kinds of entry: severity, what happened, and what to do. A warning asks for a look, a note does not."""

    UNLABELED = (
        _NOTE,
        "pictures without labels are background",
        "if they only wait for labels, leave them out with --skip-unlabeled",
    )
    UNLABELED_SKIPPED = (_WARNING, "pictures without labels are left out, as asked", "")
    ORPHAN = (_WARNING, "label files without a picture are left out", "restore the pictures or rename them")
    SECOND = (_WARNING, "pictures have a second label file, which is left out", "join the two files, or remove one")
    OTHER_FORMAT = (
        _WARNING,
        "pictures without labels of YOLO have files that may be labels of another format, which is not read",
        "convert them apart, with --format",
    )
    ORPHAN_OBJECT = (_WARNING, "annotations without an image in their file are left out", "")
    NO_PICTURE = (_WARNING, "listed pictures that do not exist are left out", "restore the files, or mend the list")
    NO_SPLIT = (
        _WARNING,
        "pictures without a split or an annotation file are left out",
        "add them to a split if they should be used",
    )
    FORMAT = (_WARNING, "pictures in formats that Pillow does not read are left out", "save them as PNG or JPEG")
    SKIPPED = (_WARNING, "damaged files are left out with their pictures, as asked", "")
    NO_AREA = (_WARNING, "objects without area (points, lines, empty boxes) are left out", "draw boxes for them")
    OUTSIDE = (_WARNING, "boxes over the border of their picture are kept as they are", "look at them")
    SWAPPED = (_WARNING, "boxes with exchanged corners are put in order", "")
    SIZE = (
        _WARNING,
        "pictures and their labels disagree about the size; the boxes are kept as they are",
        "look at them: boxes drawn on another size are wrong",
    )
    SHARED = (_WARNING, "pictures share a label file, and each has its objects", "give each picture its own name")
    RENAMED = (_WARNING, "label files name another picture, but label the one beside them", "")
    SCORES = (_WARNING, "sixth numbers of rows (a score or a track) are left out", "")
    POSE_OR_OUTLINE = (
        _WARNING,
        "rows that could be outlines or poses are read as outlines",
        "if they are poses, state kpt_shape in data.yaml, such as kpt_shape: [17, 3]",
    )
    NO_OUTLINE = (_WARNING, "masks that cannot turn with their picture are left out; their boxes are kept", "")
    BAD_OUTLINE = (_WARNING, "outlines and key points that nothing can decode are left out; their boxes are kept", "")
    REPEATED = (
        _WARNING,
        "pictures have several entries in one split, each with objects of its own",
        "join the entries: each trains the model to miss the objects of the others",
    )
    IN_BOTH = (
        _WARNING,
        "pictures are in train and in val, whose AP is then too good",
        "list other pictures for val, or leave val out and ask for --val-fraction",
    )
    NO_OBJECTS = (_WARNING, "splits have no objects", "a model can neither be trained nor evaluated on them")
    ALIKE = (_WARNING, "class names differ only in case or spaces and stay separate classes", "")
    NOT_IN_TRAIN = (_WARNING, "classes have objects in val and none in train", "training cannot learn them")
    CROWDS = (
        _WARNING,
        "splits have only objects marked iscrowd, which are neither trained on nor evaluated",
        "masks exported by CVAT are marked so; export polygons or boxes",
    )
    FOREIGN = (_NOTE, "paths from another machine were found in the dataset by their last parts", "")
    TURNED = (_NOTE, "pictures were annotated as stored, but EXIF data turn them: their boxes turn with them", "")
    FROM_OUTLINE = (_NOTE, "annotations without a box get the box of their outline", "")
    PIECES = (_NOTE, "shapes with one label and one group_id become one object with the box of all of them", "")
    AREA = (_NOTE, "areas that are not numbers are replaced by those of the boxes", "")
    TWICE = (_NOTE, "pictures listed twice in one split are used once", "")
    GROUP = (_NOTE, "categories that only name a group of the others are left out", "")
    RENUMBERED = (_NOTE, "classes with different ids in the splits get new ids, in the order of their names", "")
    NOT_IN_VAL = (_NOTE, "classes have objects in train and none in val", "their AP cannot be measured")

    def __init__(self, severity: Severity, text: str, advice: str):
        self.severity, self.text, self.advice = severity, text, advice


class Ledger:
    """Collects entries by kind, and damaged files apart, while a dataset is read.

    folder: the folder that the paths of entries start from.
    damages: the faults of the damaged files.
    lost: the pictures that cannot be used because of them, each with the first reason.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.damages: list[Damage] = []
        self.lost: dict[Path, Damage] = {}
        self.entries: dict[Kind, list[str]] = defaultdict(list)

    def add(self, kind: Kind, place: str | Path) -> None:
        """Enter a place (a file, a file and its entry, a name) under a kind."""
        self.entries[kind].append(self.name(place) if isinstance(place, Path) else place)

    def name(self, path: Path) -> str:
        """The name of a file in entries: its path below the folder, if it lies there."""
        return shown(path, self.folder)

    @contextmanager
    def collecting(self, *pictures: Path) -> Iterator[None]:
        """Keep a Damage that is raised inside the block, so that all damaged files are found, not only the first.

        pictures: the pictures that it makes useless.
        """
        try:
            yield
        except Damage as damage:
            self.damages.append(damage)
            for picture in pictures:
                self.lost.setdefault(picture, damage)

    def findings(self) -> list[Finding]:
        """Return one finding for each kind with entries, in the order of the kinds: warnings, then notes."""
        return [
            Finding(
                kind=kind.name.lower().replace("_", " "),
                severity=kind.severity,
                text=f"{kind.text} ({len(self.entries[kind])})",
                places=tuple(self.entries[kind]),
                advice=kind.advice,
            )
            for kind in Kind
            if self.entries.get(kind)
        ]
