"""Registers a dataset in COCO format with Detectron2, from its files alone."""

import difflib
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from detectron2.data import DatasetCatalog, MetadataCatalog, get_detection_dataset_dicts
from detectron2.data.datasets import register_coco_instances

from .annotations import read_categories
from .content import first_few


def dataset_name(
    *,
    name: str | None = None,
    annotations: str | os.PathLike | None = None,
    images: str | os.PathLike | None = None,
    default: str | None = None,
) -> str:
    """Name of a dataset in Detectron2's catalogs; a dataset given by its files is registered first.

    A second call with the same files changes nothing. A name made from the files is the same in every process and
    every run. Nothing is checked except that the annotation file has categories.

    name: with files, the name to register them under; without files, a dataset that is registered already.
    annotations: annotation file in COCO format.
    images: folder that the file names of the annotations start from.
    default: a dataset that is registered already, used if neither a name nor files are given.

    Raises ValueError if no dataset has this name, or another one has it; if only one of the two paths is given; if the
    annotation file is missing or has no categories in COCO format.
    """
    if annotations is None and images is None:
        return registered_name(name or default)
    if annotations is None or images is None:
        given, lacking = ("images", "annotations") if annotations is None else ("annotations", "images")
        raise ValueError(
            f"a dataset needs its annotations (a JSON file) and its images (a folder): {given} is "
            f"{annotations or images}, {lacking} is not given"
        )
    json_file, image_root = absolute(annotations), absolute(images)
    return register(name or name_of_files(json_file, image_root), json_file, image_root)


def dataset_dicts(
    *,
    name: str | None = None,
    annotations: str | os.PathLike | None = None,
    images: str | os.PathLike | None = None,
    default: str | None = None,
    filter_empty: bool = False,
) -> list[dict]:
    """A dataset's images in the form that Detectron2's DatasetMapper takes. The arguments are those of `dataset_name`.

    filter_empty: leave out images without objects. By default they stay, as examples of background.
    """
    name = dataset_name(name=name, annotations=annotations, images=images, default=default)
    return get_detection_dataset_dicts(name, filter_empty=filter_empty)


def joined_datasets(names: Sequence[str]) -> str:
    """Register several datasets, which must have the same classes, as one. Returns its name."""
    name = "+".join(names)
    found = [MetadataCatalog.get(registered_name(x)) for x in names]
    kept = {key: found[0].get(key) for key in ("thing_classes", "thing_dataset_id_to_contiguous_id")}
    if any(x.get(key) != value for x in found for key, value in kept.items()):
        raise ValueError(f"the datasets {', '.join(names)} have different classes: they cannot be joined")
    if name not in DatasetCatalog:
        DatasetCatalog.register(name, lambda: [image for x in names for image in DatasetCatalog.get(x)])
        MetadataCatalog.get(name).set(**{key: value for key, value in kept.items() if value is not None})
    return name


def registered_name(name: str | None) -> str:
    """`name`, if a dataset is registered under it. Raises ValueError with the closest names otherwise."""
    if name is None:
        raise ValueError("a dataset needs a name, or its annotations (a JSON file) and its images (a folder)")
    if name not in DatasetCatalog:
        close = difflib.get_close_matches(name, DatasetCatalog.list(), n=3)
        hint = (
            f"did you mean {' or '.join(close)}?"
            if close
            else f"registered are {first_few(sorted(DatasetCatalog.list()))}"
        )
        raise ValueError(f"no dataset is registered as {name!r}; {hint}")
    return name


def register(name: str, json_file: str, image_root: str) -> str:
    """Register the files under `name` unless they already are. Returns the name. ValueError if another dataset has
    it."""
    categories = read_categories(json_file)
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


def name_of_files(json_file: str, image_root: str) -> str:
    """A name that contains the annotation file's name, and that differs between files with the same name."""
    digest = hashlib.sha256(f"{json_file}\n{image_root}".encode()).hexdigest()
    return f"{Path(json_file).stem}_{digest[:8]}"


def absolute(path: str | os.PathLike) -> str:
    """A path that holds in every working folder; addresses such as s3://bucket stay as they are."""
    path = os.fspath(path)
    return path if "://" in path else os.path.abspath(os.path.expanduser(path))
