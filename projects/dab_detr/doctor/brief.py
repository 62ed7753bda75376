"""The dataset doctor in short: the check that stops a wrong training before it starts."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from detectron2.data import MetadataCatalog
from detectron2.utils.file_io import PathManager

from ..data.coco import registered_name
from ..data.content import first_few
from .annotations import AnnotationFile, read_annotations
from .files import check_files
from .finding import Severity
from .objects import check_queries
from .splits import check_categories, check_overlap, check_unlearned

OPENED, OPENED_REMOTE = 5000, 8  # images that are opened before a training

logger = logging.getLogger(__name__)


def check_datasets(
    train: str,
    val: str | Sequence[str],
    num_classes: int | None,
    *,
    key: str = "model.num_classes",
    num_queries: int | None = None,
) -> int:
    """Check that datasets fit each other, the model and Detectron2; returns the number of classes.

    Annotation files are checked in full; some thousands of the images are opened. Warnings go to the log. A dataset
    without an annotation file in COCO format on this machine is checked by its metadata.

    train: registered name of the dataset to train on.
    val: registered names of the datasets to evaluate on.
    num_classes: number of classes of the model; None to take it from the data.
    key: name of the number of classes in the config.
    num_queries: number of queries of the model; None if it is not known.

    Raises ValueError with all errors that were found, with files and ids.
    """
    val = [val] if isinstance(val, str) else list(val)
    splits = [checked_split(train), *map(checked_split, val)]
    # An evaluation without training names one dataset as both; it may have no annotations, as COCO's test images.
    findings = [] if train in val else splits[0].findings(trained=True, num_queries=num_queries)
    for split in splits[1:]:
        findings += split.findings(trained=False, num_queries=num_queries) + compare(splits[0], split)
    faults = dict.fromkeys(text for text, severity in findings if severity is Severity.ERROR)
    names = splits[0].names
    if num_classes is not None and num_classes != len(names):
        fault = (
            f"{key} is {num_classes}, but {splits[0].label} has {len(names)} classes ({first_few(names)}): "
            f"set {key} to {len(names)}, or leave it to the data"
        )
        faults[fault] = Severity.ERROR
    for text in dict.fromkeys(text for text, severity in findings if severity is Severity.WARNING):
        logger.warning("%s", text)
    if faults:
        start = "the datasets cannot be used (tools/check_dataset.py says more, and can mend some of it):"
        raise ValueError("\n- ".join([start, *faults]))
    return len(names)


@dataclass(frozen=True, kw_only=True)
class CheckedSplit:
    """A registered dataset; `file` is None if only its metadata is known."""

    label: str
    names: list[str]
    ids: list[int] | None
    file: AnnotationFile | None = None
    image_root: str = ""

    def findings(self, *, trained: bool, num_queries: int | None) -> list[tuple[str, Severity]]:
        """Findings about this dataset alone, as sentences that name it."""
        if self.file is None:
            return []
        found = self.file.findings_for(trained=trained)
        opened = OPENED_REMOTE if "://" in self.image_root else OPENED
        found += check_files(self.image_root, self.file.images, opened=opened)
        if num_queries is not None:
            found += check_queries(self.file.images, num_queries)
        return [(f"{self.label}: {finding}", finding.severity) for finding in found]


def compare(train: CheckedSplit, val: CheckedSplit) -> list[tuple[str, Severity]]:
    """Findings about two datasets together, as sentences."""
    if train.ids is None or val.ids is None:  # without ids, only the order must agree
        train_names, val_names = (dict(enumerate(split.names)) for split in (train, val))
    else:
        train_names, val_names = (dict(zip(split.ids, split.names, strict=True)) for split in (train, val))
    found = check_categories((train.label, train_names), (val.label, val_names))
    if train.file and val.file and train.label != val.label:
        found += check_overlap((train.image_root, train.file.images), (val.image_root, val.file.images), content=False)
        found += check_unlearned((train.label, train.file.learned), (val.label, val.file.evaluated))
    return [(str(finding), finding.severity) for finding in found]


def checked_split(name: str) -> CheckedSplit:
    """A registered dataset, with its annotation file if it is on this machine."""
    metadata = MetadataCatalog.get(registered_name(name))
    json_file = metadata.get("json_file") if metadata.get("evaluator_type") == "coco" else None
    names = metadata.get("thing_classes")
    if json_file and (names is None or PathManager.exists(json_file)):
        file = read_annotations(json_file)
        return CheckedSplit(
            label=json_file,
            names=list(file.categories.values()),
            ids=list(file.categories),
            file=file,
            image_root=metadata.image_root,
        )
    if names is None:
        raise ValueError(
            f"dataset {name!r} has no class names: where it is registered, "
            f"set MetadataCatalog.get({name!r}).thing_classes"
        )
    if json_file:
        logger.warning("Dataset %s is checked by its class names only: %s does not exist.", name, json_file)
    ids = metadata.get("thing_dataset_id_to_contiguous_id")
    return CheckedSplit(label=json_file or f"dataset {name!r}", names=list(names), ids=ids and sorted(ids, key=ids.get))
