"""Reads an annotation file in COCO format. The doctor checks it; this module does not."""

import gzip
import json
import os
import re
import zlib
from collections.abc import Collection
from functools import lru_cache
from typing import Any

from detectron2.utils.file_io import PathManager

from .content import first_few, is_id

GZIP_MAGIC = b"\x1f\x8b"


def read_categories(path: str | os.PathLike) -> dict[int, str]:
    """Category names by id, in the order of the ids. The result is cached until the file changes.

    Raises ValueError if the file is missing, is not JSON, or has no categories.
    """
    path = os.fspath(path)
    status = os.stat(local_file(path))
    return categories_of(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=16)
def categories_of(path: str, modified: int, size: int) -> dict[int, str]:
    """Category names of a file in one state, given by its time of change and its size in bytes."""
    text, _ = read_text(path)
    return names_by_id(path, parse(path, text))


def names_by_id(path: str, content: Any) -> dict[int, str]:
    """Category names by id, in the order of the ids, from the parsed content of `path`; ValueError without them."""
    categories = entries(path, content, "categories", {"id", "name"})
    if not all(type(c["id"]) in (int, float) and is_id(c["id"]) for c in categories):
        raise ValueError(
            f"{path} is not an annotation file in COCO format: "
            f"ids of categories must be whole numbers: {first_few(categories)}"
        )
    return {c["id"]: str(c["name"]) for c in sorted(categories, key=lambda c: c["id"])}


def entries(path: str, content: Any, key: str, needed: Collection[str]) -> list[dict]:
    """The list `key` of the parsed content of `path`; ValueError if it is empty or an entry lacks a `needed` key."""
    wrong = f"{path} is not an annotation file in COCO format: "
    if isinstance(content, list):
        scored = content and isinstance(content[0], dict) and "score" in content[0]
        hint = "; it looks like detections (COCO results), which are not ground truth" if scored else ""
        raise ValueError(f"{wrong}it is a list, not a dict with images, annotations and categories{hint}")
    if not isinstance(content, dict):
        raise ValueError(f"{wrong}it must be a dict with images, annotations and categories")
    found = content.get(key)
    if found and not isinstance(found, list):
        kind = "an object" if isinstance(found, dict) else "a single value"
        raise ValueError(f"{wrong}{key!r} must be a list and is {kind}")
    if not found:
        hint = "; it looks like a LabelMe file, which has one file per image" if "shapes" in content else ""
        raise ValueError(f"{wrong}its list {key!r} is missing or empty (it has {first_few(content, repr)}){hint}")
    for number, entry in enumerate(found):
        if not isinstance(entry, dict) or any(name not in entry for name in needed):
            raise ValueError(f"{wrong}{key}[{number}] must have {', '.join(sorted(needed))}: {entry!r:.200}")
    return found


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


def read_text(path: str) -> tuple[str, str]:
    """The text of a file and its storage: utf-8, another encoding, or gzip.

    Bytes that are not Unicode are read as cp1252, Windows' encoding of Western Europe, or as latin-1 if cp1252 lacks a
    character.
    """
    with open(local_file(path), "rb") as file:
        raw = file.read()
    if raw.startswith(GZIP_MAGIC):
        try:
            return decode(gzip.decompress(raw))[0], "gzip"
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(f"{path} is a damaged gzip file ({error})") from error
    return decode(raw)


def decode(raw: bytes) -> tuple[str, str]:
    """The text of `raw` and the name of its encoding."""
    for encoding in (json.detect_encoding(raw), "cp1252"):
        try:
            return raw.decode(encoding), encoding
        except UnicodeDecodeError:
            continue
    return raw.decode("latin-1"), "latin-1"


def parse(path: str, text: str, **options) -> Any:
    """The JSON value in `text`, the content of the file `path`, by `json.loads`; ValueError if it is not JSON."""
    try:
        return json.loads(text, **options)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON ({error}){other_format(text[:2000])}") from error


def other_format(start: str) -> str:
    """A hint about the format that the first lines of a file look like; empty for unknown formats."""
    convert = "tools/convert_dataset.py converts a dataset to COCO format"
    if start.lstrip().startswith("<"):
        return f"; it looks like XML of Pascal VOC: {convert}"
    if re.match(r"\s*\d+(\s+[\d.]+){4,}\s*$", start.splitlines()[0] if start.strip() else ""):
        return f"; it looks like labels of YOLO: {convert}"
    if re.search(r"^(train|names|nc)\s*:", start, re.MULTILINE):
        return f"; it looks like a data.yaml of YOLO: {convert}"
    return ""
