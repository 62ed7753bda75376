"""Ids put right: one kind of value for all, by which annotations find their images and categories."""

import math
from collections import Counter, defaultdict

from ..data.content import Content, number, refers, twins, whole
from .references import mixed, shift_by


def mend_image_ids(images: list[dict], done: Counter) -> None:
    """Make ids whole numbers that are written as 1.0; where others are text, make all of them numbers, or else text."""
    before = [x["id"] for x in images]
    ids = [int(i) if isinstance(i, float) else i for i in before]
    if mixed(ids):
        numbers = [whole(i) for i in ids]
        alike = [str(i) for i in ids] if mixed(numbers) else numbers
        if len(set(alike)) == len(set(ids)):  # or two images would be one
            ids = alike
    for x, old, new in zip(images, before, ids, strict=True):
        x["id"] = new
        done["ids of images made of one kind"] += type(new) is not type(old)


def mend_categories(categories: list[dict], done: Counter) -> None:
    """Make ids whole numbers that are written as 1.0, and numbers that are names text."""
    for x in categories:
        done["ids of categories made whole numbers"] += isinstance(x["id"], float)
        x["id"] = int(x["id"])
        if type(x["name"]) in (int, float):
            x["name"] = str(x["name"])
            done["names of categories made text"] += 1


def mend_references(content: Content, done: Counter) -> None:
    """Undo a shift of the category ids by one, and write ids as those are written that they refer to."""
    by = shift_by(content)
    for x in content.objects if by else ():
        if refers(x.get("category_id")):
            x["category_id"] = whole(x["category_id"]) + by
            done[f"category ids shifted by {by:+d}"] += 1
    for key, known in (("image_id", content.image_of), ("category_id", content.category_ids)):
        twin = twins(known)
        for x in content.objects:
            old = x.get(key)
            new = twin.get(whole(old), old) if refers(old) else old
            if type(new) is not type(old) or new != old:
                x[key] = new
                done[f"values of {key} written as the ids that they are"] += 1


def mend_annotation_ids(annotations: list[dict], done: Counter) -> None:
    """Give new ids to annotations without one, with one that is no number, or with that of another."""
    holders = defaultdict(list)
    for x in annotations:
        i = whole(x.get("id"))
        holders[i if type(i) is int and math.isfinite(number(i)) else None].append(x)
    fresh = max((i for i in holders if i is not None), default=0)
    for i, same in holders.items():
        if i is not None:
            done["ids of annotations made whole numbers"] += type(same[0]["id"]) is not int
            same[0]["id"] = i
        for x in same if i is None else same[1:]:
            fresh += 1
            x["id"] = fresh
            done["annotations given an id of their own"] += 1
