"""One annotation file in COCO format: what a training has to know of it, and the faults that would spoil it.

Detectron2 and pycocotools meet most of these faults with an assert or a KeyError, some only at the first
evaluation, and some never: then the AP is 0. Here they have words, before a model is built.
"""

import json
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from detectron2.utils.file_io import PathManager

__all__ = ["AnnotationFile", "few", "read_annotations"]

_SHOWN = 5  # ids or names that a message lists
_SAMPLED = 8  # images that are looked for on disk


@dataclass(frozen=True, kw_only=True)
class AnnotationFile:
    """What of an annotation file is kept after one reading.

    Attributes:
        path: the file, as it was given.
        categories: names by id, in the order of the ids. Detectron2's class i is the i-th of them.
        annotated: whether there is a list of annotations; files of test images have none.
        file_names: a sample of the images, the first and others spread evenly over the file.
        faults: sentences on what is wrong with the content for training and evaluation; usually none.
        evaluation_faults: likewise, for evaluation alone.
    """

    path: str
    categories: dict[int, str]
    annotated: bool
    file_names: tuple[str, ...]
    faults: tuple[str, ...]
    evaluation_faults: tuple[str, ...]


def read_annotations(path: str | os.PathLike) -> AnnotationFile:
    """Read an annotation file, or remember it from before where it has not changed since.

    Raises:
        ValueError: the file is missing, is not JSON, or is not an annotation file in COCO format.
    """
    path = os.fspath(path)
    local = PathManager.get_local_path(path)
    if os.path.isdir(local):
        found = sorted(name for name in os.listdir(local) if name.endswith(".json"))
        there = f"it holds {few(found)}" if found else "it holds no .json file"
        raise ValueError(f"{path} is a folder; annotations must be one JSON file in COCO format ({there})")
    if not os.path.isfile(local):
        raise ValueError(f"annotation file {path} does not exist")
    status = os.stat(local)
    return _read(path, local, status.st_mtime_ns, status.st_size)


def few(values: Iterable[Any], show: Callable[[Any], str] = str) -> str:
    """The first few of `values` in words, and how many more there are."""
    values = list(values)
    shown = ", ".join(show(value) for value in values[:_SHOWN])
    return shown if len(values) <= _SHOWN else f"{shown} and {len(values) - _SHOWN} more"


@lru_cache(maxsize=16)
def _read(path: str, local: str, modified: int, size: int) -> AnnotationFile:
    content = _coco_content(path, local)
    images, annotations = content["images"], content.get("annotations", [])
    categories = {c["id"]: str(c["name"]) for c in sorted(content["categories"], key=lambda c: c["id"])}
    return AnnotationFile(
        path=path,
        categories=categories,
        annotated="annotations" in content,
        file_names=tuple(image["file_name"] for image in images[:: max(1, len(images) // _SAMPLED)][:_SAMPLED]),
        faults=(
            *_faults_of_categories(content["categories"], annotations),
            *_faults_of_images(images, annotations),
            *_faults_of_annotations(annotations, annotated="annotations" in content),
        ),
        evaluation_faults=tuple(_faults_of_ground_truth(annotations)),
    )


def _coco_content(path: str, local: str) -> dict:
    """The file's content, with `images` and `categories` as they have to be."""
    with open(local, encoding="utf-8", errors="replace") as file:
        try:
            content = json.load(file)
        except ValueError as error:
            file.seek(0)
            raise ValueError(f"{path} is not JSON ({error}){_other_format(file.read(2000))}") from error
    wrong = f"{path} is not an annotation file in COCO format: "
    if isinstance(content, list):
        entries = content and isinstance(content[0], dict) and "score" in content[0]
        results = "; it looks like detections (COCO results), which are no ground truth" if entries else ""
        raise ValueError(f"{wrong}it is a list and not a dict with images, annotations and categories{results}")
    if not isinstance(content, dict):
        raise ValueError(f"{wrong}it has to be a dict with images, annotations and categories")
    for key, needed in (("images", {"id", "file_name", "height", "width"}), ("categories", {"id", "name"})):
        entries = content.get(key)
        if not isinstance(entries, list) or not entries:
            labelme = "; it looks like a file of LabelMe, which has one for each image" if "shapes" in content else ""
            raise ValueError(f"{wrong}its list {key!r} is missing or empty (it has {few(content, repr)}){labelme}")
        for number, entry in enumerate(entries):
            if not isinstance(entry, dict) or not needed <= entry.keys():
                raise ValueError(f"{wrong}{key}[{number}] must have {', '.join(sorted(needed))}: {entry!r:.200}")
    if not all(type(c["id"]) is int for c in content["categories"]):
        raise ValueError(f"{wrong}ids of categories must be whole numbers: {few(content['categories'])}")
    annotations = content.get("annotations", [])
    if not isinstance(annotations, list) or not all(isinstance(a, dict) for a in annotations):
        raise ValueError(f"{wrong}'annotations' must be a list of dicts")
    return content


def _other_format(start: str) -> str:
    """A hint at the format that the text of a file looks like."""
    if start.lstrip().startswith("<"):
        return "; it looks like XML of Pascal VOC: convert the dataset to one COCO-format JSON file for each split"
    if re.match(r"\s*\d+(\s+[\d.]+){4,}\s*$", start.splitlines()[0] if start.strip() else ""):
        return "; it looks like labels of YOLO: convert the dataset to one COCO-format JSON file for each split"
    if re.search(r"^(train|names|nc)\s*:", start, re.MULTILINE):
        return "; it looks like a data.yaml of YOLO: convert the dataset to one COCO-format JSON file for each split"
    return ""


def _faults_of_categories(categories: list[dict], annotations: list[dict]) -> list[str]:
    ids = [c["id"] for c in categories]
    known = set(ids)
    faults = [f"category ids are used twice: {few(_repeated(ids))}"] if len(known) < len(ids) else []
    strays = [a for a in annotations if not _refers(a.get("category_id"), known)]
    if strays:
        used = {a.get("category_id") for a in annotations if _refers(a.get("category_id"))}
        shift = next((by for by in (1, -1) if all(type(i) is int and i + by in known for i in used)), 0)
        faults.append(
            f"{len(strays)} annotations have a category_id that is not among the categories "
            f"({few(sorted(known))}): "
            + few(strays, lambda a: f"{a.get('category_id')!r} in annotation {a.get('id')}")
            + (f"; it looks like a shift by one: every category_id {shift:+d} would be a category" if shift else "")
        )
    return faults


def _faults_of_images(images: list[dict], annotations: list[dict]) -> list[str]:
    ids = [image["id"] for image in images]
    known = set(ids)
    faults = [f"image ids are used twice: {few(_repeated(ids))}"] if len(known) < len(ids) else []
    strays = [a for a in annotations if not _refers(a.get("image_id"), known)]
    if strays:
        faults.append(
            f"{len(strays)} annotations are of images that do not exist: "
            + few(strays, lambda a: f"image_id {a.get('image_id')!r} in annotation {a.get('id')}")
        )
    return faults


def _faults_of_annotations(annotations: list[dict], *, annotated: bool) -> list[str]:
    if not annotations:
        return ["it has no annotations at all"] if annotated else []
    faults = []
    ids = [a.get("id") for a in annotations]
    if None in ids:
        faults.append(f"{ids.count(None)} annotations have no id, the first is annotations[{ids.index(None)}]")
    elif len(set(ids)) < len(ids):
        faults.append(f"annotation ids are used twice: {few(_repeated(ids))}")
    boxless = [a.get("id") for a in annotations if not _is_box(a.get("bbox"))]
    if boxless:
        faults.append(f"{len(boxless)} annotations have no bbox [x, y, width, height] of numbers: {few(boxless)}")
    ignored = [a.get("id") for a in annotations if a.get("ignore", 0) != 0]
    if ignored:
        faults.append(f"{len(ignored)} annotations have 'ignore', which Detectron2 does not know: {few(ignored)}")
    return faults


def _faults_of_ground_truth(annotations: list[dict]) -> list[str]:
    """What pycocotools stops at when the first evaluation has already detected everything."""
    faults = []
    for key, remedy in (("area", "width times height of the box"), ("iscrowd", "0")):
        lacking = [a.get("id") for a in annotations if key not in a]
        if lacking:
            faults.append(f"{len(lacking)} annotations have no {key!r} (set it to {remedy}): {few(lacking)}")
    return faults


def _refers(value: Any, known: set | None = None) -> bool:
    return isinstance(value, (int, str)) and (known is None or value in known)


def _repeated(values: list) -> list:
    seen = set()
    return [value for value in values if value in seen or seen.add(value)]


def _is_box(box: Any) -> bool:
    return isinstance(box, list) and len(box) == 4 and all(type(x) in (int, float) for x in box)
