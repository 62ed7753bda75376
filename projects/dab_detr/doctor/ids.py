"""Mend ids: give all of them one kind of value, so that annotations find their images and categories."""

from collections import Counter, defaultdict

from ..data.content import Content, as_int, ids_by_number, is_id
from .references import EXACT, is_mixed, is_text, shift_by


def mend_image_ids(images: list[dict], done: Counter) -> None:
    """Turn ids such as 1.0 into integers; if only some are text, turn all into integers, otherwise all into text."""
    before = [x["id"] for x in images]
    ids = [int(i) if isinstance(i, float) else i for i in before]
    if is_mixed(ids):
        numbers = [as_int(i) for i in ids]
        alike = [str(i) for i in ids] if is_mixed(numbers) else numbers
        if len(set(alike)) == len(set(ids)):  # otherwise two images would become one
            ids = alike
    for x, old, new in zip(images, before, ids, strict=True):
        x["id"] = new
        done["image ids turned into one kind"] += type(new) is not type(old)


def mend_categories(categories: list[dict], done: Counter) -> None:
    """Turn ids such as 1.0 into integers, and names that are numbers into text."""
    for x in categories:
        done["category ids turned into integers"] += isinstance(x["id"], float)
        x["id"] = int(x["id"])
        if type(x["name"]) in (int, float):
            x["name"] = str(x["name"])
            done["category names turned into text"] += 1
        if isinstance(x["name"], str) and not is_text(x["name"]):
            x["name"] = x["name"].encode("utf-8", "replace").decode()
            done["half characters in category names replaced by ?"] += 1


def mend_references(content: Content, done: Counter) -> None:
    """Undo a shift of the category ids by one, and write each id as the entry that it refers to has it."""
    by = shift_by(content)
    for x in content.objects if by else ():
        if is_id(x.get("category_id")):
            x["category_id"] = as_int(x["category_id"]) + by
            done[f"category ids shifted by {by:+d}"] += 1
    for key, known in (("image_id", content.image_of), ("category_id", content.category_ids)):
        numbers = ids_by_number(known)
        for x in content.objects:
            old = x.get(key)
            new = numbers.get(as_int(old), old) if is_id(old) else old
            if type(new) is not type(old) or new != old:
                x[key] = new
                done[f"values of {key} written like the ids that they refer to"] += 1


def mend_annotation_ids(annotations: list[dict], done: Counter) -> None:
    """Give new ids to annotations without an id, with an id that tools misread, or with another annotation's id."""
    holders = defaultdict(list)
    for x in annotations:
        i = as_int(x.get("id"))
        holders[i if type(i) is int and 1 <= i <= EXACT else None].append(x)
    new_id = max((i for i in holders if i is not None), default=0)
    for i, same in holders.items():
        if i is not None:
            done["annotation ids turned into integers"] += type(same[0]["id"]) is not int
            same[0]["id"] = i
        for x in same if i is None else same[1:]:
            new_id += 1
            x["id"] = new_id
            done["annotations numbered again"] += 1
