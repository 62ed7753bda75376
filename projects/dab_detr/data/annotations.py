"""Read an annotation file in COCO format, without checking more than that it is one."""

import json
import os
import re
from functools import lru_cache

from detectron2.utils.file_io import PathManager

from .content import first_few, refers


def read_categories(path: str | os.PathLike) -> dict[int, str]:
    """Category names by id, in the order of the ids; kept from the last reading if the file has not changed since.

    Raises ValueError as `load_content` does.
    """
    path = os.fspath(path)
    status = os.stat(local_file(path))
    return _categories(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=16)
def _categories(path: str, modified: int, size: int) -> dict[int, str]:
    categories = load_content(path)["categories"]
    return {c["id"]: str(c["name"]) for c in sorted(categories, key=lambda c: c["id"])}


def load_content(path: str | os.PathLike) -> dict:
    """The content of an annotation file, whose entries have the keys that the format asks for.

    Raises ValueError if the file is missing, is not JSON, or is not an annotation file in COCO format.
    """
    path = os.fspath(path)
    return _coco_content(path, local_file(path))


def local_file(path: str) -> str:
    """The local copy of `path`. Raises ValueError if it is a folder or does not exist."""
    local = PathManager.get_local_path(path)
    if os.path.isdir(local):
        found = sorted(name for name in os.listdir(local) if name.endswith(".json"))
        there = f"it holds {first_few(found)}" if found else "it holds no .json file"
        raise ValueError(f"{path} is a folder; annotations must be one JSON file in COCO format ({there})")
    if not os.path.isfile(local):
        raise ValueError(f"annotation file {path} does not exist")
    return local


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
            raise ValueError(
                f"{wrong}its list {key!r} is missing or empty (it has {first_few(content, repr)}){labelme}"
            )
        for number, entry in enumerate(entries):
            if not isinstance(entry, dict) or not needed <= entry.keys():
                raise ValueError(f"{wrong}{key}[{number}] must have {', '.join(sorted(needed))}: {entry!r:.200}")
    if not all(type(c["id"]) in (int, float) and refers(c["id"]) for c in content["categories"]):
        raise ValueError(f"{wrong}ids of categories must be whole numbers: {first_few(content['categories'])}")
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
