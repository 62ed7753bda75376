"""Check ids and names: whether images, annotations and categories find each other."""

import ntpath
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Any

from ..data.content import Content, as_int, first_few, has_size, ids_by_number, is_id, number, repeated, short
from .finding import Finding, Severity

BACKGROUND = {"background", "__background__", "_background_", "bg"}
EXACT = 2**53  # other tools read JSON's numbers as doubles, which are exact for integers up to here
LARGEST = 2**63 - 1  # NumPy holds ids in 64 bits


def check_references(content: Content) -> Iterator[Finding]:
    """Find faults of the ids and names in a file."""
    yield from check_categories(content)
    yield from check_category_ids(content)
    yield from check_images(content)
    yield from check_image_ids(content)
    yield from check_annotation_ids(content)


def check_categories(content: Content) -> Iterator[Finding]:
    """Find categories whose id or name is not usable, or occurs twice."""
    categories = content.categories
    ids = repeated([c["id"] for c in categories])
    if ids:
        text = f"category ids are used twice: {first_few(ids)}"
        yield Finding(kind="category id twice", severity=Severity.ERROR, text=text)
    yield from check_large("category", categories)
    yield from Finding.counted(
        "category name no text",
        Severity.ERROR,
        "categories have a name that is not text, as Detectron2 needs it",
        [f"{c['id']} {quoted(c['name'])}" for c in categories if not is_text(c["name"])],
    )
    names = defaultdict(list)
    for category in categories:
        names[str(category["name"])].append(category["id"])
    twice = [f"{name!r} with the ids {first_few(ids)}" for name, ids in names.items() if len(set(ids)) > 1]
    yield from Finding.counted(
        "category name twice",
        Severity.WARNING,
        "category names are used more than once",
        twice,
        "per-class tables cannot tell them apart",
    )
    backgrounds = [f"{c['id']} {c['name']!r}" for c in categories if str(c["name"]).lower() in BACKGROUND]
    yield from Finding.counted(
        "background category",
        Severity.WARNING,
        "categories are called background",
        backgrounds,
        "a detector needs none: background is everything without a box",
    )


def is_text(name: Any) -> bool:
    """Whether files and logs can hold a name. (JSON's escapes can hold half a character.)"""
    return isinstance(name, str) and not any("\ud800" <= x <= "\udfff" for x in name)


def check_large(what: str, entries: list[dict]) -> list[Finding]:
    """Find ids of categories or images that 64 bits cannot hold."""
    large = [short(x["id"]) for x in entries if abs(number(x["id"])) > LARGEST]
    return Finding.counted(f"{what} id too large", Severity.ERROR, f"{what} ids are beyond 64 bits", large)


def check_category_ids(content: Content) -> list[Finding]:
    """Find annotations with a category that the file lacks."""
    known = content.category_ids
    strays = [x for x in content.objects if not is_id(x.get("category_id"), known)]
    return Finding.counted(
        "unknown category",
        Severity.ERROR,
        f"annotations have a category_id that is not among the categories ({first_few(sorted(known))})",
        [f"{quoted(x.get('category_id'))} in {content.place(x)}" for x in strays],
        shift_hint(content) or number_hint([x.get("category_id") for x in strays], known),
    )


def quoted(value) -> str:
    """A value as text of a readable length, with quotes around text."""
    return ascii(short(value)) if isinstance(value, str) else short(value)


def shift_by(content: Content) -> int:
    """1 or -1 if adding it makes every category_id in use a category, although not all are one now; otherwise 0."""
    used = {as_int(x["category_id"]) for x in content.objects if is_id(x.get("category_id"))}
    if used <= content.category_ids:
        return 0
    return next((by for by in (1, -1) if all(type(i) is int and i + by in content.category_ids for i in used)), 0)


def shift_hint(content: Content) -> str:
    """A hint that all category ids are shifted by one; empty if they are not."""
    by = shift_by(content)
    return f"it looks like a shift by one: every category_id {by:+d} would be a category" if by else ""


def number_hint(strays: list, known: Iterable) -> str:
    """A hint that unknown ids are known ids with text and numbers mixed up."""
    numbers = ids_by_number(known)
    found = [i for i in strays if is_id(i) and as_int(i) in numbers]
    return f"{len(found)} of them would be known if numbers and text were not mixed up" if found else ""


def is_mixed(ids: Iterable) -> bool:
    """Whether some ids are text and others are not, so that nothing can sort them."""
    return len({isinstance(i, str) for i in ids}) > 1


def check_images(content: Content) -> Iterator[Finding]:
    """Find images whose size or file name is not usable, or whose file is listed twice."""
    yield from Finding.counted(
        "no image size",
        Severity.ERROR,
        "images have no width and height in pixels",
        [
            f"image {x['id']} ({x['file_name']}) {quoted(x.get('width'))} x {quoted(x.get('height'))}"
            for x in content.images
            if not has_size(x)
        ],
    )
    holders = defaultdict(list)
    for x in content.images:
        holders[x["file_name"]].append(x["id"])
    twice = [f"{name} with the ids {first_few(same)}" for name, same in holders.items() if len(same) > 1]
    what = "files are listed as several images, each with part of the objects"
    yield from Finding.counted("file twice", Severity.WARNING, what, twice)
    absolute = [f"image {x['id']} ({x['file_name']})" for x in content.images if is_absolute(x["file_name"])]
    what = "images have absolute paths, which other machines do not have"
    yield from Finding.counted("absolute file name", Severity.WARNING, what, absolute)
    if content.objects:
        empty = [f"image {i} ({x['file_name']})" for i, x in content.image_of.items() if not content.counts[i]]
        what = "images have no objects (training uses them as background)"
        yield from Finding.counted("image without objects", Severity.NOTE, what, empty)


def is_absolute(name: str) -> bool:
    """Whether a file name is an absolute path on Linux, macOS or Windows."""
    return os.path.isabs(name) or ntpath.isabs(name) or bool(ntpath.splitdrive(name)[0])


def check_image_ids(content: Content) -> Iterator[Finding]:
    """Find image ids that are used twice, of two kinds or too large, and annotations of unknown images."""
    images = content.images
    ids = repeated([image["id"] for image in images])
    if ids:
        where = first_few(ids, lambda i: f"{i} ({' and '.join(str(x['file_name']) for x in images if x['id'] == i)})")
        yield Finding(kind="image id twice", severity=Severity.ERROR, text=f"image ids are used twice: {where}")
    if is_mixed(content.image_of):
        numbers, texts = ([i for i in content.image_of if isinstance(i, str) is is_text] for is_text in (False, True))
        text = f"some image ids are numbers and others are text: {first_few(numbers)} and {first_few(texts, repr)}"
        yield Finding(kind="image ids mixed", severity=Severity.ERROR, text=text)
    yield from check_large("image", images)
    strays = [x for x in content.objects if not is_id(x.get("image_id"), content.image_of)]
    yield from Finding.counted(
        "unknown image",
        Severity.ERROR,
        "annotations belong to images that do not exist",
        [f"image_id {quoted(x.get('image_id'))} in annotation {short(x.get('id'))}" for x in strays],
        number_hint([x.get("image_id") for x in strays], content.image_of),
    )


def check_annotation_ids(content: Content) -> Iterator[Finding]:
    """Find annotation ids that stop Detectron2, and ids that other tools misread; evaluation here needs none."""
    if content.annotations == []:
        yield Finding(kind="no annotations", severity=Severity.ERROR, text="it has no annotations at all")
    without = [i for i, x in enumerate(content.objects) if not is_id(x.get("id"))]
    if without:
        text = f"{len(without)} annotations have no id, the first is annotations[{without[0]}]"
        yield Finding(kind="no annotation id", severity=Severity.ERROR, text=text)
        return
    twice = set(repeated([x["id"] for x in content.objects]))
    holders = defaultdict(list)
    for x in content.objects if twice else ():
        if x["id"] in twice:
            holders[x["id"]].append(x)
    if twice:
        places = first_few(first_few(map(content.place, same)) for same in holders.values())
        text = f"annotation ids are used twice: {places}"
        yield Finding(kind="annotation id twice", severity=Severity.ERROR, text=text)
    values = [(x, as_int(x["id"])) for x in content.objects]
    for kind, what, is_wrong in (
        (
            "annotation id below 1",
            "annotations have an id of 0 or below: other tools that evaluate with pycocotools count an object of id 0 "
            "as missed even if it was found (evaluation here does not)",
            lambda value: isinstance(value, int) and value < 1,
        ),
        (
            "annotation id no number",
            "annotations have an id that is not a number",
            lambda value: isinstance(value, str),
        ),
        (
            "annotation id too large",
            "annotations have an id beyond 2^53, which tools that read it as a float mix up with others",
            lambda value: isinstance(value, int) and value > EXACT,
        ),
    ):
        places = [content.place(x) for x, value in values if is_wrong(value)]
        yield from Finding.counted(kind, Severity.WARNING, what, places, "--fix numbers them again")
