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

logger = logging.getLogger(__name__)

_OPENED, _OPENED_REMOTE = 5000, 8  # images that are opened before a training


def check_datasets(
    train: str,
    val: str | Sequence[str],
    num_classes: int | None,
    *,
    key: str = "model.num_classes",
    num_queries: int | None = None,
) -> int:
    """The dataset doctor in short: check that datasets fit each other, the model and Detectron2.

    Annotation files are checked in full, of the images some thousands are opened. Warnings go to the log. A dataset
    whose annotation file is absent, or which has none in COCO format, is checked by its metadata.

    Args:
        train: registered name of the dataset to train on.
        val: registered names of those to evaluate on.
        num_classes: number of classes of the model; None where it is to come from the data.
        key: what the number of classes is called in the config.
        num_queries: number of queries of the model; None where it is not known.

    Returns:
        The number of classes.

    Raises:
        ValueError: all errors that were found, with files and ids.
    """
    val = [val] if isinstance(val, str) else list(val)
    splits = [_split(train), *map(_split, val)]
    # To evaluate alone is to name one dataset as both; it may then be without annotations, as COCO's test images are.
    findings = [] if train in val else splits[0].findings(trained=True, num_queries=num_queries)
    for split in splits[1:]:
        findings += split.findings(trained=False, num_queries=num_queries) + _compare(splits[0], split)
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
        start = "the datasets cannot be used (tools/check_dataset.py tells more, and can mend some of it):"
        raise ValueError("\n- ".join([start, *faults]))
    return len(names)


@dataclass(frozen=True, kw_only=True)
class _Split:
    """A registered dataset as the check sees it; `file` is None where only the metadata can be known."""

    label: str
    names: list[str]
    ids: list[int] | None
    file: AnnotationFile | None = None
    image_root: str = ""

    def findings(self, *, trained: bool, num_queries: int | None) -> list[tuple[str, Severity]]:
        """What is wrong with this dataset alone, as sentences that name it."""
        if self.file is None:
            return []
        found = self.file.findings_for(trained=trained)
        opened = _OPENED_REMOTE if "://" in self.image_root else _OPENED
        found += check_files(self.image_root, self.file.images, opened=opened)
        if num_queries is not None:
            found += check_queries(self.file.images, num_queries)
        return [(f"{self.label}: {finding}", finding.severity) for finding in found]


def _compare(train: _Split, val: _Split) -> list[tuple[str, Severity]]:
    """What is wrong with two datasets together."""
    if train.ids is None or val.ids is None:  # without ids the order alone has to agree
        ours, theirs = (dict(enumerate(split.names)) for split in (train, val))
    else:
        ours, theirs = (dict(zip(split.ids, split.names, strict=True)) for split in (train, val))
    found = check_categories((train.label, ours), (val.label, theirs))
    if train.file and val.file and train.label != val.label:
        found += check_overlap((train.image_root, train.file.images), (val.image_root, val.file.images), content=False)
        found += check_unlearned((train.label, train.file.used), (val.label, val.file.used))
    return [(str(finding), finding.severity) for finding in found]


def _split(name: str) -> _Split:
    metadata = MetadataCatalog.get(registered_name(name))
    json_file = metadata.get("json_file") if metadata.get("evaluator_type") == "coco" else None
    names = metadata.get("thing_classes")
    if json_file and (names is None or PathManager.exists(json_file)):
        file = read_annotations(json_file)
        categories = file.categories
        return _Split(
            label=json_file,
            names=list(categories.values()),
            ids=list(categories),
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
    return _Split(label=json_file or f"dataset {name!r}", names=list(names), ids=ids and sorted(ids, key=ids.get))
