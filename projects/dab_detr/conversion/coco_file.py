"""An annotation file in COCO format, as the conversion reads it."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..data.content import as_int, is_id
from .damage import Damage
from .text import read_json


@dataclass(kw_only=True)
class CocoFile:
    """The lists of an annotation file. Their ids are whole numbers or texts that refer to each other correctly.

    annotations: image id -> its annotations. names: category id -> name. strays: annotations without an image.
    """

    path: Path
    images: list[dict]
    categories: list[dict]
    annotations: dict[Any, list[dict]]
    names: dict[int, str]
    strays: list[dict]

    def all_nodes(self) -> Iterator[dict]:
        """Every annotation of an image whose category exists."""
        return (x for nodes in self.annotations.values() for x in nodes if is_id(x["category_id"], self.names))

    def groups(self) -> set[str]:
        """The names of categories that are groups of others, as Roboflow writes one for the whole dataset.

        Two categories may have one name only if one of them is such a group.
        """
        above = [c.get("supercategory") for c in self.categories]
        return {c["name"] for c in self.categories if c.get("supercategory") == "none" and c["name"] in above}


def read_coco(path: Path) -> CocoFile:
    """Read an annotation file. Raises Damage if a list or a key that connects them is missing or contradictory."""
    content = read_json(path)
    lists = {key: entries(content, key, path) for key in ("images", "annotations", "categories")}
    for key in ("images", "categories"):
        if not lists[key]:
            raise Damage(path, key, "the list is missing or empty")
    images = {}
    for number, image in enumerate(lists["images"]):
        entry = f"images[{number}]"
        name = image.get("file_name")
        if not isinstance(name, str) or not name.strip() or "\0" in name:
            raise Damage(path, entry, f"file_name must be a path: {name!r:.60}")
        image["id"] = checked_id(image, path, entry)
        if image["id"] in images:
            first = images[image["id"]]["file_name"]
            raise Damage(path, entry, f"the id {image['id']} is that of {first!r} and of {name!r}")
        images[image["id"]] = image
    categories = drop_groups(lists["categories"], lists["annotations"])
    names = checked_categories(categories, path)
    annotations, strays = defaultdict(list), []
    for node in lists["annotations"]:
        for key in ("image_id", "category_id"):
            node[key] = as_int(node.get(key))
        known = is_id(node["image_id"]) and node["image_id"] in images
        (annotations[node["image_id"]] if known else strays).append(node)
    return CocoFile(
        path=path,
        images=list(images.values()),
        categories=categories,
        annotations=annotations,
        names=names,
        strays=strays,
    )


def entries(content: Any, key: str, path: Path) -> list[dict]:
    """A list of the file; empty if it is missing. Raises Damage if it is not a list of objects."""
    found = content.get(key, []) if isinstance(content, dict) else None
    if found is None and isinstance(content, dict):
        found = []
    if not isinstance(found, list):
        raise Damage(path, key, f"must be a list, got {found!r:.60}")
    wrong = next((i for i, x in enumerate(found) if not isinstance(x, dict)), None)
    if wrong is not None:
        raise Damage(path, f"{key}[{wrong}]", f"must be an object of JSON, got {found[wrong]!r:.60}")
    return found


def checked_id(node: dict, path: Path, entry: str) -> Any:
    """The id of an entry, as a whole number if it is one. Raises Damage for an entry without an id."""
    found = as_int(node.get("id"))
    if isinstance(found, bool) or not is_id(found):
        raise Damage(path, entry, f"id must be a whole number or a text: {node.get('id')!r:.60}")
    return found


def drop_groups(categories: list[dict], annotations: list[dict]) -> list[dict]:
    """The categories without groups that have no objects and the same name as another category."""
    used = {as_int(x.get("category_id")) for x in annotations if is_id(x.get("category_id"))}
    names = [c.get("name") for c in categories]
    return [
        c
        for c in categories
        if not (
            c.get("supercategory") == "none"
            and isinstance(c.get("name"), str)
            and names.count(c["name"]) > 1
            and is_id(c.get("id"))
            and as_int(c["id"]) not in used
        )
    ]


def checked_categories(categories: list[dict], path: Path) -> dict[int, str]:
    """The names by their ids as whole numbers. Raises Damage for a wrong id or name, and for equal ones."""
    names: dict[int, str] = {}
    holders: dict[str, int] = {}
    for number, category in enumerate(categories):
        entry = f"categories[{number}]"
        category["id"] = checked_id(category, path, entry)
        i, name = category["id"], category.get("name")
        if type(i) is not int:
            raise Damage(path, entry, f"id must be a whole number: {i!r:.60}")
        if not isinstance(name, str) or not name.strip():
            raise Damage(path, entry, f"name must be a text: {name!r:.60}")
        if i in names:
            raise Damage(path, entry, f"the id {i} is that of {names[i]!r} and of {name!r}")
        if name in holders:
            raise Damage(path, entry, f"the categories {holders[name]} and {i} are both called {name!r}")
        names[i], holders[name] = name, i
    return names
