"""One annotation file in COCO format: what a training has to know of it, and the faults that would spoil it.

Detectron2 and pycocotools meet most of these faults with an assert or a KeyError, some only at the first
evaluation, and some never: then the AP is 0. Here they have words, before a model is built.
"""

import json
import os
import re
from codecs import BOM_UTF8
from dataclasses import dataclass, replace
from functools import lru_cache

from detectron2.utils.file_io import PathManager

from .doctor.boxes import check_boxes
from .doctor.content import Content, has_size, refers
from .doctor.files import ImageEntry
from .doctor.finding import Finding, Severity, few
from .doctor.objects import check_ground_truth, check_objects
from .doctor.references import check_references

__all__ = ["AnnotationFile", "load_content", "read_annotations"]


@dataclass(frozen=True, kw_only=True)
class AnnotationFile:
    """What of an annotation file is kept after one reading.

    Attributes:
        path: the file, as it was given.
        categories: names by id, in the order of the ids. Detectron2's class i is the i-th of them.
        annotated: whether there is a list of annotations; files of test images have none.
        images: all images, each with the number of its objects.
        used: names of the categories that have annotations.
        findings: what is wrong with the content, or to be known of it, for training and evaluation.
        evaluation_findings: likewise, for evaluation alone.
    """

    path: str
    categories: dict[int, str]
    annotated: bool
    images: tuple[ImageEntry, ...]
    used: frozenset[str]
    findings: tuple[Finding, ...]
    evaluation_findings: tuple[Finding, ...]

    def findings_for(self, *, trained: bool) -> list[Finding]:
        """What is to be said of the file where it is trained on, or else evaluated on."""
        evaluation = self.evaluation_findings
        if trained:
            evaluation = [replace(x, severity=Severity.WARNING) for x in evaluation]
        found = [*self.findings, *evaluation]
        if not self.annotated:
            severity = Severity.ERROR if trained else Severity.WARNING
            text = "it has no annotations at all, only images"
            found.append(Finding(kind="no annotations", severity=severity, text=text))
        return found


def read_annotations(path: str | os.PathLike) -> AnnotationFile:
    """Read an annotation file, or remember it from before where it has not changed since.

    Raises:
        ValueError: the file is missing, is not JSON, or is not an annotation file in COCO format.
    """
    path = os.fspath(path)
    local = _local(path)
    status = os.stat(local)
    return _read(path, local, status.st_mtime_ns, status.st_size)


def load_content(path: str | os.PathLike) -> dict:
    """The file's content, with the keys in the entries that they have to have. Raises as `read_annotations`."""
    path = os.fspath(path)
    return _coco_content(path, _local(path))


def _local(path: str) -> str:
    local = PathManager.get_local_path(path)
    if os.path.isdir(local):
        found = sorted(name for name in os.listdir(local) if name.endswith(".json"))
        there = f"it holds {few(found)}" if found else "it holds no .json file"
        raise ValueError(f"{path} is a folder; annotations must be one JSON file in COCO format ({there})")
    if not os.path.isfile(local):
        raise ValueError(f"annotation file {path} does not exist")
    return local


@lru_cache(maxsize=16)
def _read(path: str, local: str, modified: int, size: int) -> AnnotationFile:
    raw = _coco_content(path, local)
    content = Content(images=raw["images"], annotations=raw.get("annotations"), categories=raw["categories"])
    categories = {c["id"]: str(c["name"]) for c in sorted(raw["categories"], key=lambda c: c["id"])}
    used = {x["category_id"] for x in content.objects if refers(x.get("category_id"))}
    return AnnotationFile(
        path=path,
        categories=categories,
        annotated=content.annotations is not None,
        images=tuple(_entry(image, content) for image in content.images),
        used=frozenset(name for i, name in categories.items() if i in used),
        findings=(*_mark(local), *check_references(content), *check_objects(content), *check_boxes(content)),
        evaluation_findings=tuple(check_ground_truth(content)),
    )


def _entry(image: dict, content: Content) -> ImageEntry:
    width, height = (int(image["width"]), int(image["height"])) if has_size(image) else (0, 0)
    return ImageEntry(image["id"], image["file_name"], width, height, content.counts[image["id"]])


def _mark(local: str) -> list[Finding]:
    """pycocotools, by which training and evaluation read, takes no mark; the doctor does, to mend it."""
    with open(local, "rb") as file:
        marked = file.read(len(BOM_UTF8)) == BOM_UTF8
    text = "it begins with a byte order mark, at which pycocotools stops: save it as UTF-8 without"
    return [Finding(kind="byte order mark", severity=Severity.ERROR, text=text)] if marked else []


def _coco_content(path: str, local: str) -> dict:
    with open(local, encoding="utf-8-sig", errors="replace") as file:
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
    for key, needed in (("images", {"id", "file_name"}), ("categories", {"id", "name"})):
        entries = content.get(key)
        if not isinstance(entries, list) or not entries:
            labelme = "; it looks like a file of LabelMe, which has one for each image" if "shapes" in content else ""
            raise ValueError(f"{wrong}its list {key!r} is missing or empty (it has {few(content, repr)}){labelme}")
        for number, entry in enumerate(entries):
            if not isinstance(entry, dict) or not needed <= entry.keys():
                raise ValueError(f"{wrong}{key}[{number}] must have {', '.join(sorted(needed))}: {entry!r:.200}")
    if not all(type(c["id"]) in (int, float) and refers(c["id"]) for c in content["categories"]):
        raise ValueError(f"{wrong}ids of categories must be whole numbers: {few(content['categories'])}")
    for image in content["images"]:
        if not refers(image["id"]) or not isinstance(image["file_name"], str) or "\0" in image["file_name"]:
            raise ValueError(f"{wrong}an image must have a number as id and a text as file_name: {image!r:.200}")
    annotations = content.get("annotations", [])
    if not isinstance(annotations, list) or not all(isinstance(a, dict) for a in annotations):
        raise ValueError(f"{wrong}'annotations' must be a list of dicts")
    return content


def _other_format(start: str) -> str:
    """A hint at the format that the text of a file looks like."""
    convert = "tools/convert_dataset.py converts a dataset to COCO format"
    if start.lstrip().startswith("<"):
        return f"; it looks like XML of Pascal VOC: {convert}"
    if re.match(r"\s*\d+(\s+[\d.]+){4,}\s*$", start.splitlines()[0] if start.strip() else ""):
        return f"; it looks like labels of YOLO: {convert}"
    if re.search(r"^(train|names|nc)\s*:", start, re.MULTILINE):
        return f"; it looks like a data.yaml of YOLO: {convert}"
    return ""
