"""Read an annotation file in any encoding, and report what other readers would not accept."""

import os
from collections.abc import Iterator
from typing import Any

from ..data.annotations import entries, names_by_id, parse, read_text
from ..data.content import as_int, first_few, is_id
from .finding import Finding, Severity

LISTS = ("images", "annotations", "categories")


def read_content(path: str | os.PathLike) -> tuple[dict, tuple[Finding, ...]]:
    """The content of an annotation file, whose entries have the keys that COCO's format requires, and findings.

    The findings are about the file itself: its encoding, repeated lists, and category ids that are text. Such lists are
    joined here, and such ids become numbers.

    Raises ValueError if the file is missing, is not JSON, or is not an annotation file in COCO format.
    """
    path = os.fspath(path)
    text, encoding = read_text(path)
    content, findings = parse(path, text), list(check_encoding(text, encoding))
    if any(text.count(f'"{key}"') > 1 for key in LISTS):
        content, repeated = parse_joined(path, text)
        findings += check_keys(repeated)
    findings += number_categories(content)
    check_format(path, content)
    return content, tuple(findings)


def check_format(path: str, content: Any) -> None:
    """Raise ValueError if the content does not come from an annotation file in COCO format."""
    images = entries(path, content, "images", {"id", "file_name"})
    names_by_id(path, content)
    wrong = f"{path} is not an annotation file in COCO format: "
    for image in images:
        if not is_id(image["id"]) or not is_file_name(image["file_name"]):
            raise ValueError(f"{wrong}an image must have a number as id and a text as file_name: {image!r:.200}")
    annotations = content.get("annotations", [])
    if not isinstance(annotations, list) or not all(isinstance(a, dict) for a in annotations):
        raise ValueError(f"{wrong}'annotations' must be a list of dicts")


def number_categories(content: Any) -> Iterator[Finding]:
    """Turn category ids that are text into the numbers that they stand for, if all are and stay different."""
    categories = content.get("categories") if isinstance(content, dict) else None
    if not isinstance(categories, list) or not all(isinstance(x, dict) for x in categories):
        return
    texts = [x["id"] for x in categories if isinstance(x.get("id"), str)]
    ids = [as_int(x.get("id")) for x in categories]
    different = len(set(map(repr, ids))) == len({repr(x.get("id")) for x in categories})
    if not texts or not different or not all(type(i) is int for i in ids):
        return
    for category, i in zip(categories, ids, strict=True):
        category["id"] = i
    yield Finding(
        kind="category id text",
        severity=Severity.ERROR,
        text=f"category ids are text, and training needs whole numbers: {first_few(texts, repr)}",
        advice="tools/check_dataset.py --fix writes numbers",
    )


def is_file_name(name: Any) -> bool:
    """Whether an operating system can look for a file of this name."""
    try:
        return isinstance(name, str) and bool(name) and b"\0" not in os.fsencode(name)
    except UnicodeEncodeError:  # half of a character, as JSON's escapes can hold it
        return False


def check_encoding(text: str, encoding: str) -> Iterator[Finding]:
    """Find an encoding that pycocotools cannot read. Training and evaluation use pycocotools."""
    if encoding == "utf-8":
        return
    if encoding == "utf-8-sig":
        said = "it begins with a byte order mark, at which pycocotools stops: save it as UTF-8 without the mark"
        yield Finding(kind="byte order mark", severity=Severity.ERROR, text=said)
        return
    if encoding == "gzip":
        said = "it is compressed with gzip: unpack it (gunzip)"
    elif encoding in ("cp1252", "latin-1"):
        at = next(i for i, character in enumerate(text) if not character.isascii())
        said = (
            f"it is not encoded in UTF-8: save it as UTF-8. It is read here as {encoding}, Windows' encoding of "
            f"Western Europe; check that {text[max(0, at - 10) : at + 10]!r} is what is meant"
        )
    else:
        said = f"it is encoded in {encoding.upper()}: save it as UTF-8"
    advice = "tools/check_dataset.py --fix writes a copy in UTF-8"
    yield Finding(kind="encoding", severity=Severity.ERROR, text=said, advice=advice)


def check_keys(repeated: dict[str, list[int]]) -> Iterator[Finding]:
    """Find repeated lists; `repeated` has their lengths."""
    for key, lengths in repeated.items():
        said = f"it has the key {key!r} {len(lengths)} times, with {' and '.join(map(str, lengths))} entries: "
        advice = "join the lists, or let tools/check_dataset.py --fix do it"
        said += "readers of JSON keep the last list only"
        yield Finding(kind="key twice", severity=Severity.ERROR, text=said, advice=advice)


def parse_joined(path: str, text: str) -> tuple[Any, dict[str, list[int]]]:
    """The JSON value in `text` with repeated lists joined, and the lengths of such lists by key."""
    repeated: dict[str, list[int]] = {}

    def join(pairs: list[tuple[str, Any]]) -> dict:
        found = dict(pairs)
        for key in LISTS if len(found) < len(pairs) else ():
            values = [value for name, value in pairs if name == key]
            if len(values) > 1 and all(isinstance(value, list) for value in values):
                repeated[key] = [len(value) for value in values]
                found[key] = [x for value in values for x in value]
        return found

    return parse(path, text, object_pairs_hook=join), repeated
