"""Recognizes the format of a dataset folder."""

import os
import re
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..data.content import first_few
from .coco import find_coco
from .coco_content import MARK
from .createml import find_createml
from .damage import Damage, shown
from .inventory import Inventory, take_inventory
from .labelme import find_labelme
from .layout import Layout
from .text import decode, read_json, read_lines
from .voc import find_voc, looks_like_voc
from .yolo import find_yolo_folder, has_yolo_labels
from .yolo_splits import find_yolo
from .yolo_yaml import names_splits, read_yaml

FORMATS = ("yolo", "voc", "labelme", "createml", "coco")
USUAL = ("data", "dataset")  # names of YOLO's YAML file, without suffix
START = 1 << 16  # bytes of a JSON file that usually tell its format


def recognize(source: str | os.PathLike, *, format: str | None = None) -> Layout:
    """Return the layout of a dataset: a folder, a data.yaml or obj.data of YOLO, or a COCO file.

    format: one of yolo, voc, labelme, createml and coco, for folders that hold several.
    Raises ValueError, with the way out, if the layout is unknown or ambiguous.
    """
    source = Path(os.path.abspath(os.path.expanduser(source)))
    if not source.exists():
        raise ValueError(f"{shown(source)} does not exist")
    if source.is_file():
        return recognize_file(source)
    described = yaml_files(source) or darknet_files(source)
    if len(described) > 1:
        kind = "files obj.data of Darknet" if described[0].suffix == ".data" else "YAML files of YOLO"
        raise ValueError(f"{shown(source)} has several {kind}, {first_few(described, shown)}: give one of them")
    if described and format in (None, "yolo"):
        return find_yolo(described[0])
    inventory = take_inventory(source)
    if not inventory.pictures:
        raise ValueError(f"there are no pictures in {shown(source)}{contents(inventory)}")
    candidates = find_candidates(inventory, source)
    if format:
        candidates = {name: find for name, find in candidates.items() if name == format}
    if len(candidates) > 1:
        raise ValueError(
            f"{shown(source)} has labels of several formats ({', '.join(candidates)}): choose one with --format"
        )
    layout = next((find() for find in candidates.values()), None)
    if layout is None:
        raise ValueError(
            f"{shown(source)} has no known layout{contents(inventory)}: neither a data.yaml or classes.txt "
            "(YOLO), nor .xml files of Pascal VOC, nor .json files of COCO, LabelMe or CreateML"
        )
    return layout


def recognize_file(path: Path) -> Layout:
    """Return the layout for a data.yaml or an annotation file."""
    if path.suffix.lower() != ".json":
        return find_yolo(path)
    folder = path.parent.parent if path.parent.name.lower() == "annotations" else path.parent
    layout = find_coco(take_inventory(folder), path, [path])
    assert layout is not None
    return layout


def yaml_files(folder: Path) -> list[Path]:
    """The YAML files of YOLO in a folder, otherwise in its direct subfolders; data.yaml is preferred."""
    for pattern in ("*", "*/*"):
        paths = [x for x in sorted(folder.glob(pattern)) if x.suffix.lower() in (".yaml", ".yml") and x.is_file()]
        found = [x for x in paths if not x.name.startswith(".") and describes_yolo(x)]
        if preferred := [x for x in found if x.stem.lower() in USUAL]:
            return preferred[:1] if pattern == "*" else preferred
        if found:
            return found
    return []


def darknet_files(folder: Path) -> list[Path]:
    """Darknet's obj.data files, which name the splits, in a folder or in its direct subfolders."""
    paths = sorted(path for pattern in ("*.data", "*/*.data") for path in folder.glob(pattern) if path.is_file())
    small = [path for path in paths if path.stat().st_size < START and not path.name.startswith(".")]
    return [path for path in small if has_line(path, r"train\s*=")]


def describes_yolo(path: Path) -> bool:
    """Whether a YAML file has class names or splits. So does a damaged one that has the usual name or a line `names:`.

    The reader then names the fault.
    """
    try:
        content = read_yaml(path)
    except Damage:
        return path.stem.lower() in USUAL or has_line(path, "names:")
    return "names" in content or names_splits(content)


def has_line(path: Path, start: str) -> bool:
    """Whether a line of a text file begins with a pattern, in small or capital letters."""
    try:
        return any(re.match(start, line.strip(), re.IGNORECASE) for line in read_lines(path))
    except Damage:
        return False


def find_candidates(inventory: Inventory, source: Path) -> dict[str, Callable[[], Layout | None]]:
    """The formats whose label files are in a folder, and how to get the layout of each."""
    kinds: dict[str, list[Path]] = {"coco": [], "labelme": [], "createml": [], "damaged": [], "label studio": []}
    for path in inventory.named(".json"):
        if kind := json_kind(path):
            kinds[kind].append(path)
    if kinds["damaged"]:  # counted with the others, so that the reader names it
        kind = next((kind for kind in ("labelme", "coco", "createml") if kinds[kind]), "coco")
        pictures = {path.with_suffix("") for path in inventory.pictures}
        likely = [x for x in kinds["damaged"] if kind != "labelme" or x.with_suffix("") in pictures]
        kinds[kind] = sorted(kinds[kind] + likely)
    found: dict[str, Callable[[], Layout | None]] = {}
    if has_yolo_labels(inventory):
        found["yolo"] = partial(find_yolo_folder, inventory, source)
    if any(map(looks_like_voc, inventory.named(".xml"))):
        found["voc"] = partial(find_voc, inventory, source)
    for kind, find in (("labelme", find_labelme), ("createml", find_createml), ("coco", find_coco)):
        if kinds[kind]:
            found[kind] = partial(find, inventory, source, kinds[kind])
    if kinds["label studio"] and not found:
        raise ValueError(f"{shown(kinds['label studio'][0])} is Label Studio's JSON: export it as COCO or YOLO")
    return found


def json_kind(path: Path) -> str | None:
    """The format of a JSON file: coco, labelme, createml, "label studio", "damaged", or None for any other content."""
    try:
        with path.open("rb") as file:
            start = decode(file.read(START), path).lstrip("\ufeff \t\r\n")
    except (OSError, Damage):
        return "damaged"
    if start.startswith("[") and re.search(r'"coordinates"\s*:', start):
        return "createml"
    if start.startswith("{") and re.search(r'"shapes"\s*:', start):
        return "labelme"
    try:
        content = read_json(path)
    except Damage:
        return "damaged"
    return dict_kind(content) if isinstance(content, dict) else list_kind(content)


def dict_kind(content: dict[str, Any]) -> str | None:
    """The format of an object of JSON: coco, labelme or None. A file of LabelMe may lack its shapes, as damage."""
    if "images" not in content:
        return "labelme" if {"shapes", "imagePath"} & content.keys() else None
    info = content.get("info")
    ours = isinstance(info, dict) and MARK in str(info.get("description"))
    return "coco" if not ours and {"annotations", "categories"} & content.keys() else None


def list_kind(content: Any) -> str | None:
    """The format of a list of JSON: createml, "label studio" or None. Label Studio's annotations have results."""
    if not isinstance(content, list) or not content or not all(isinstance(x, dict) for x in content):
        return None
    lists = [x.get("annotations", x.get("annotation")) for x in content]
    objects = [x for some in lists if isinstance(some, list) for x in some]
    if any("data" in x for x in content) and all(isinstance(x, dict) and "result" in x for x in objects):
        return "label studio"
    return "createml" if all({"annotations", "annotation"} & x.keys() for x in content) else None


def contents(inventory: Inventory) -> str:
    """The kinds of files of a folder, for a message."""
    files = (*inventory.pictures, *inventory.foreign, *inventory.others)
    counts = Counter(path.suffix.lower() or "without suffix" for path in files)
    words = ", ".join(f"{number} {suffix}" for suffix, number in counts.most_common(6))
    return f" (it holds {words})" if words else " (it is empty)"
