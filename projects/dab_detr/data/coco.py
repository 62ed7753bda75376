"""Any dataset in COCO format from its files alone, and the check that stops a wrong training before it starts."""

import difflib
import hashlib
import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from detectron2.data.datasets import register_coco_instances
from detectron2.utils.file_io import PathManager

from .annotations import AnnotationFile, read_annotations
from .doctor.files import check_files
from .doctor.finding import Severity, few
from .doctor.objects import check_queries
from .doctor.splits import check_categories, check_overlap, check_unlearned

__all__ = ["check_datasets", "dataset_dicts", "dataset_name"]

logger = logging.getLogger(__name__)

_OPENED, _OPENED_REMOTE = 5000, 8  # images that are opened before a training


def dataset_name(
    *,
    name: str | None = None,
    annotations: str | os.PathLike | None = None,
    images: str | os.PathLike | None = None,
    default: str | None = None,
) -> str:
    """The name of a dataset in Detectron2's catalogs; one given by its files is registered first.

    To call it again with the same files changes nothing. A name made from the files is the same in every process
    and every run.

    Args:
        name: with the files, what to call them; alone, a dataset that is registered already.
        annotations: annotation file in COCO format.
        images: folder that the file names of the annotations start from.
        default: a dataset that is registered already, used where neither a name nor files are given.

    Raises:
        ValueError: no dataset has this name, or another one has it; only one of the two paths is given; the
            annotation file is missing or not in COCO format.
    """
    if annotations is None and images is None:
        return _registered(name or default)
    if annotations is None or images is None:
        given, lacking = ("images", "annotations") if annotations is None else ("annotations", "images")
        raise ValueError(
            f"a dataset needs its annotations (a JSON file) and its images (a folder): {given} is "
            f"{annotations or images}, {lacking} is not given"
        )
    json_file, image_root = _absolute(annotations), _absolute(images)
    return _register(name or _name_of(json_file, image_root), json_file, image_root)


def dataset_dicts(
    *,
    name: str | None = None,
    annotations: str | os.PathLike | None = None,
    images: str | os.PathLike | None = None,
    default: str | None = None,
    filter_empty: bool = False,
) -> list[dict]:
    """A dataset's images as Detectron2's DatasetMapper takes them, by name or by files as in :func:`dataset_name`.

    Images without objects stay, since what is background has to be learned too, unless `filter_empty`.
    """
    name = dataset_name(name=name, annotations=annotations, images=images, default=default)
    return get_detection_dataset_dicts(name, filter_empty=filter_empty)


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
            f"{key} is {num_classes}, but {splits[0].label} has {len(names)} classes ({few(names)}): "
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
    metadata = MetadataCatalog.get(_registered(name))
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


def _registered(name: str | None) -> str:
    if name is None:
        raise ValueError("a dataset needs a name, or its annotations (a JSON file) and its images (a folder)")
    if name not in DatasetCatalog:
        close = difflib.get_close_matches(name, DatasetCatalog.list(), n=3)
        hint = (
            f"did you mean {' or '.join(close)}?" if close else f"registered are {few(sorted(DatasetCatalog.list()))}"
        )
        raise ValueError(f"no dataset is registered as {name!r}; {hint}")
    return name


def _register(name: str, json_file: str, image_root: str) -> str:
    categories = read_annotations(json_file).categories
    metadata = {
        "thing_classes": list(categories.values()),
        "thing_dataset_id_to_contiguous_id": {i: number for number, i in enumerate(categories)},
    }
    if name in DatasetCatalog:
        known = MetadataCatalog.get(name)
        if (known.get("json_file"), known.get("image_root")) != (json_file, image_root):
            raise ValueError(
                f"the dataset name {name!r} is taken, by {known.get('json_file') or 'another dataset'}: choose another"
            )
        if all(known.get(key) == value for key, value in metadata.items()):
            return name
        # The file has changed since, and Detectron2 lets no metadata be set a second time.
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)
    register_coco_instances(name, metadata, json_file, image_root)
    return name


def _name_of(json_file: str, image_root: str) -> str:
    """A name to recognise the file by, and one of its own among files of the same name."""
    digest = hashlib.sha256(f"{json_file}\n{image_root}".encode()).hexdigest()
    return f"{Path(json_file).stem}_{digest[:8]}"


def _absolute(path: str | os.PathLike) -> str:
    path = os.fspath(path)
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))
