"""Write a recognized dataset as annotation files in COCO format."""

import json
import os
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path

from ..checkpoint.writing import atomic_write
from .coco_content import MARK, coco_content
from .damage import DamagedDataset, printable, shown
from .layout import SPLITS, Layout
from .ledger import Kind, Ledger
from .lookup import fold
from .records import Picture, Records
from .report import Output, Report, classes_apart
from .split import split_off

REPORT = "conversion.txt"


def convert(
    layout: Layout,
    output: str | os.PathLike,
    *,
    val_fraction: float | None = None,
    seed: int = 0,
    skip_damaged: bool = False,
    skip_unlabeled: bool = False,
    overwrite: bool = False,
) -> Report:
    """Write train.json, val.json and test.json, for the splits that exist, and the report. Pictures stay in place.

    layout: what `recognize` returns.
    output: folder for the files and for the report, conversion.txt; it is made if it does not exist.
    val_fraction: the fraction of the training pictures that becomes val, for a dataset without val; see split_off.
    seed: decides which pictures become val.
    skip_damaged: leave out the pictures of damaged files instead of stopping.
    skip_unlabeled: leave out pictures without labels. Otherwise they are background.
    overwrite: replace the files of an earlier conversion.

    Raises DamagedDataset, with a line for each damaged file, and ValueError if a file to write exists, or if
    val_fraction does not fit the dataset. Nothing is written then.
    """
    output = Path(os.path.abspath(os.path.expanduser(output)))
    refuse(layout, output, overwrite=overwrite, names=[split.name for split in layout.splits])
    if val_fraction is not None:
        check_fraction(layout, val_fraction)
        refuse(layout, output, overwrite=overwrite, names=["val"])
    ledger = Ledger(layout.inventory.folder)
    records = layout.read(ledger)
    settle_damage(ledger, skip=skip_damaged)
    account(layout, records, ledger)
    settle_unlabeled(records.pictures, ledger, skip=skip_unlabeled)
    if not any(records.pictures.values()):
        reasons = "; ".join(finding.sentence(3) for finding in ledger.findings())
        raise ValueError(f"no picture of {shown(layout.source)} is left to convert: {printable(reasons)}")
    if val_fraction is not None:
        train, val = split_off(records.pictures["train"], val_fraction, seed)
        records.pictures.update(train=train, val=val)
    pictures = {name: records.pictures[name] for name in SPLITS if records.pictures.get(name)}
    check_splits(pictures, ledger)
    check_names(records, pictures, ledger)
    return write(layout, records, pictures, output, ledger)


def check_fraction(layout: Layout, fraction: float) -> None:
    """Raise ValueError if no validation set of this fraction can be split off."""
    names = [split.name for split in layout.splits]
    if not 0 < fraction < 1:
        raise ValueError(f"the fraction for val must be between 0 and 1, got {fraction:g}")
    if "val" in names:
        raise ValueError(f"{shown(layout.source)} has a validation set: leave --val-fraction out to use it")
    if "train" not in names:
        raise ValueError(f"{shown(layout.source)} has no training set to split val off; it has {', '.join(names)}")


def refuse(layout: Layout, output: Path, *, overwrite: bool, names: list[str]) -> None:
    """Raise ValueError if a file to write exists, unless it may be replaced. Files of the dataset are never
    replaced."""
    if output.exists() and not output.is_dir():
        raise ValueError(f"{shown(output)} is a file; give a folder for the annotation files")
    sources = {os.path.realpath(path) for path in layout.sources()} if overwrite else set()
    for path in (*(output / f"{name}.json" for name in names), output / REPORT):
        if not os.path.lexists(path):
            continue
        if not overwrite:
            raise ValueError(f"{shown(path)} exists: choose another folder, or replace it with --overwrite")
        if os.path.realpath(path) in sources and not is_ours(path):
            raise ValueError(f"{shown(path)} is a file of the dataset and is never replaced: choose another folder")


def is_ours(path: Path) -> bool:
    """Whether an earlier conversion wrote a file."""
    return path.name == REPORT or MARK.encode() in path.read_bytes()[:4096]


def settle_damage(ledger: Ledger, *, skip: bool) -> None:
    """Raise DamagedDataset if there are damaged files. With `skip`, enter what is left out because of them instead."""
    if not ledger.damages:
        return
    if not skip:
        raise DamagedDataset([str(damage) for damage in ledger.damages])
    pictures = defaultdict(list)
    for picture, damage in ledger.lost.items():
        pictures[damage].append(ledger.name(picture))
    for damage in ledger.damages:
        ledger.add(Kind.SKIPPED, f"{damage} (leaves out {', '.join(pictures[damage]) or 'the file'})")


def account(layout: Layout, records: Records, ledger: Ledger) -> None:
    """Enter every picture of the folder that no split contains."""
    used = {picture.path for some in records.pictures.values() for picture in some} | set(ledger.lost)
    for path in layout.inventory.pictures:
        if path not in used:
            ledger.add(Kind.NO_SPLIT, ledger.name(path))
    for path in layout.inventory.foreign:
        ledger.add(Kind.FORMAT, ledger.name(path))


def settle_unlabeled(pictures: dict[str, list[Picture]], ledger: Ledger, *, skip: bool) -> None:
    """Enter the pictures without labels, and with `skip` leave them out."""
    for name, some in pictures.items():
        for picture in some:
            if not picture.labeled:
                ledger.add(Kind.UNLABELED_SKIPPED if skip else Kind.UNLABELED, ledger.name(picture.path))
        if skip:
            pictures[name] = [picture for picture in some if picture.labeled]


def check_splits(pictures: dict[str, list[Picture]], ledger: Ledger) -> None:
    """Enter pictures with several entries, pictures in train and in val, and splits without objects."""
    paths = {name: [picture.path for picture in some] for name, some in pictures.items()}
    for name, some in paths.items():
        for path, number in Counter(some).items():
            if number > 1:
                ledger.add(Kind.REPEATED, f"{ledger.name(path)} in {name} ({number} entries)")
    if {"train", "val"} <= paths.keys():
        trained = set(map(os.path.realpath, paths["train"]))  # links lead to one file by several paths
        for path in sorted({path for path in paths["val"] if os.path.realpath(path) in trained}):
            ledger.add(Kind.IN_BOTH, path)
    for name in ("train", "val"):
        if name in pictures and not any(picture.items for picture in pictures[name]):
            ledger.add(Kind.NO_OBJECTS, name)


def check_names(records: Records, pictures: dict[str, list[Picture]], ledger: Ledger) -> None:
    """Enter class names that are hard to tell apart, and classes that train or val lacks."""
    alike = defaultdict(list)
    for name in records.categories:
        alike[" ".join(fold(name).split())].append(name)
    for names in alike.values():
        if len(names) > 1:
            ledger.add(Kind.ALIKE, " and ".join(map(repr, names)))
    only_val, only_train = classes_apart(pictures)
    for kind, names in ((Kind.NOT_IN_TRAIN, only_val), (Kind.NOT_IN_VAL, only_train)):
        for name in names:
            ledger.add(kind, name)


def write(layout: Layout, records: Records, pictures: dict[str, list[Picture]], output: Path, ledger: Ledger) -> Report:
    """Write all files, or none, and return the report."""
    outputs, texts = {}, {}
    for name, some in pictures.items():
        split = name if name in [x.name for x in layout.splits] else "train"  # val may be split off
        folder = layout.folder_of(split, [x.path for x in some])
        path = output / f"{name}.json"
        texts[path] = json.dumps(coco_content(some, records.categories, folder, layout.format))
        num_objects = sum(len(picture.items) for picture in some)
        outputs[name] = Output(annotations=path, images=folder, num_images=len(some), num_objects=num_objects)
    report = Report(
        understood=printable(str(layout)),
        outputs=outputs,
        categories={category["id"]: name for name, category in records.categories.items()},
        findings=tuple(ledger.findings()),
    )
    texts[output / REPORT] = "".join(f"{line}\n" for line in report.lines(None))
    output.mkdir(parents=True, exist_ok=True)
    with ExitStack() as files:
        for path, text in texts.items():
            files.enter_context(atomic_write(path)).write(text.encode())
    return report
