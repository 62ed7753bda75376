"""Ids and names: whether images, annotations and categories find each other."""

import ntpath
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator

from ..data.content import Content, first_few, has_size, refers, repeated, twins, whole
from .finding import Finding, Severity

_ERROR, _WARNING, _NOTE = Severity.ERROR, Severity.WARNING, Severity.NOTE
_BACKGROUND = {"background", "__background__", "_background_", "bg"}


def check_references(content: Content) -> Iterator[Finding]:
    """What is wrong with the ids and the names of a file."""
    yield from _categories(content)
    yield from _stray_categories(content)
    yield from _images(content)
    yield from _annotation_ids(content)


def _categories(content: Content) -> Iterator[Finding]:
    categories = content.categories
    ids = repeated([c["id"] for c in categories])
    if ids:
        yield Finding(kind="category id twice", severity=_ERROR, text=f"category ids are used twice: {first_few(ids)}")
    yield from Finding.counted(
        "category name no text",
        _ERROR,
        "categories have a name that is no text, as Detectron2 needs it",
        [f"{c['id']} {c['name']!r}" for c in categories if not isinstance(c["name"], str)],
    )
    names = defaultdict(list)
    for category in categories:
        names[str(category["name"])].append(category["id"])
    twice = [f"{name!r} with the ids {first_few(ids)}" for name, ids in names.items() if len(set(ids)) > 1]
    yield from Finding.counted(
        "category name twice", _WARNING, "names are those of several categories", twice, "tables by class mix them up"
    )
    backgrounds = [f"{c['id']} {c['name']!r}" for c in categories if str(c["name"]).lower() in _BACKGROUND]
    yield from Finding.counted(
        "background category",
        _WARNING,
        "categories are called background",
        backgrounds,
        "a detector needs none: background is what has no box",
    )
    if content.objects:
        used = {x["category_id"] for x in content.objects if refers(x.get("category_id"))}
        unused = [f"{c['id']} {c['name']!r}" for c in categories if c["id"] not in used]
        yield from Finding.counted("unused category", _WARNING, "categories have no annotation", unused)


def _stray_categories(content: Content) -> list[Finding]:
    known = content.category_ids
    strays = [x for x in content.objects if not refers(x.get("category_id"), known)]
    return Finding.counted(
        "unknown category",
        _ERROR,
        f"annotations have a category_id that is not among the categories ({first_few(sorted(known))})",
        [f"{x.get('category_id')!r} in {content.place(x)}" for x in strays],
        shift_hint(content) or twin_hint([x.get("category_id") for x in strays], known),
    )


def shift_by(content: Content) -> int:
    """1 or -1 where every category_id in use, and not all without it, would be a category by adding that; else 0."""
    used = {whole(x["category_id"]) for x in content.objects if refers(x.get("category_id"))}
    if used <= content.category_ids:
        return 0
    return next((by for by in (1, -1) if all(type(i) is int and i + by in content.category_ids for i in used)), 0)


def shift_hint(content: Content) -> str:
    by = shift_by(content)
    return f"it looks like a shift by one: every category_id {by:+d} would be a category" if by else ""


def twin_hint(strays: list, known: Iterable) -> str:
    twin = twins(known)
    found = [i for i in strays if refers(i) and whole(i) in twin]
    return f"{len(found)} of them would be known if numbers and text were not mixed up" if found else ""


def mixed(ids: Iterable) -> bool:
    """Whether some are text and others are not, so that nothing can sort them."""
    return len({isinstance(i, str) for i in ids}) > 1


def _images(content: Content) -> Iterator[Finding]:
    images = content.images
    ids = repeated([image["id"] for image in images])
    if ids:
        where = first_few(ids, lambda i: f"{i} ({' and '.join(str(x['file_name']) for x in images if x['id'] == i)})")
        yield Finding(kind="image id twice", severity=_ERROR, text=f"image ids are used twice: {where}")
    if mixed(content.image_of):
        kinds = (first_few([i for i in content.image_of if isinstance(i, str) is text], repr) for text in (False, True))
        text = f"some image ids are numbers and others are text: {' and '.join(kinds)}"
        yield Finding(kind="image ids mixed", severity=_ERROR, text=text)
    yield from Finding.counted(
        "no image size",
        _ERROR,
        "images have no width and height in pixels",
        [
            f"image {x['id']} ({x['file_name']}) {x.get('width')!r} x {x.get('height')!r}"
            for x in images
            if not has_size(x)
        ],
    )
    holders = defaultdict(list)
    for x in images:
        holders[x["file_name"]].append(x["id"])
    twice = [f"{name} with the ids {first_few(same)}" for name, same in holders.items() if len(same) > 1]
    yield from Finding.counted(
        "file twice", _WARNING, "files are listed as several images, each with part of the objects", twice
    )
    absolute = [f"image {x['id']} ({x['file_name']})" for x in images if _is_absolute(x["file_name"])]
    yield from Finding.counted(
        "absolute file name", _WARNING, "images have absolute paths, which other machines do not have", absolute
    )
    strays = [x for x in content.objects if not refers(x.get("image_id"), content.image_of)]
    yield from Finding.counted(
        "unknown image",
        _ERROR,
        "annotations are of images that do not exist",
        [f"image_id {x.get('image_id')!r} in annotation {x.get('id')}" for x in strays],
        twin_hint([x.get("image_id") for x in strays], content.image_of),
    )
    if content.objects:
        empty = [f"image {i} ({x['file_name']})" for i, x in content.image_of.items() if not content.counts[i]]
        yield from Finding.counted("image without objects", _NOTE, "images have no objects (they train too)", empty)


def _is_absolute(name: str) -> bool:
    return os.path.isabs(name) or ntpath.isabs(name) or bool(ntpath.splitdrive(name)[0])


def _annotation_ids(content: Content) -> Iterator[Finding]:
    if content.annotations == []:
        yield Finding(kind="no annotations", severity=_ERROR, text="it has no annotations at all")
    without = [i for i, x in enumerate(content.objects) if not refers(x.get("id"))]
    if without:
        text = f"{len(without)} annotations have no id, the first is annotations[{without[0]}]"
        yield Finding(kind="no annotation id", severity=_ERROR, text=text)
        return
    twice = set(repeated([x["id"] for x in content.objects]))
    holders = defaultdict(list)
    for x in content.objects if twice else ():
        if x["id"] in twice:
            holders[x["id"]].append(x)
    if twice:
        places = first_few(first_few(map(content.place, same)) for same in holders.values())
        text = f"annotation ids are used twice: {places}"
        yield Finding(kind="annotation id twice", severity=_ERROR, text=text)
