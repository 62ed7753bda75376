"""A mended copy of a dataset's annotations: what can be put right is, what cannot is left out or stays as it is."""

import copy
import json
import os
from collections import Counter, defaultdict
from collections.abc import Callable

import numpy as np

from .boxes import corners, normalised
from .content import Content, is_box, refers
from .files import Look, look_at
from .objects import LEAST_AREA
from .references import shift_by

# (x, y) in a file of (w, h) pixels to where it is when the picture is turned by its EXIF orientation
_TURNS: dict[int, Callable[[float, float, int, int], tuple[float, float]]] = {
    5: lambda x, y, w, h: (y, x),
    6: lambda x, y, w, h: (h - y, x),
    7: lambda x, y, w, h: (h - y, w - x),
    8: lambda x, y, w, h: (y, w - x),
}


def mend(raw: dict, root: str) -> tuple[dict, Counter]:
    """Mend the content of an annotation file, whose images are in the folder `root`.

    The pictures stay as they are. Where all boxes are moved, and where their picture is turned, masks and key points
    are left out: they would no longer fit.

    Returns:
        The mended content, and how often each thing was done, in words.
    """
    raw, done = copy.deepcopy(raw), Counter()
    for key in ("categories", "images"):
        raw[key] = _without_repeats(raw[key], done, f"entries of {key} left out that are there twice")
    looks = _mend_images(raw, root, done)
    if raw.get("annotations"):
        annotations = raw["annotations"]
        content = Content(images=raw["images"], annotations=annotations, categories=raw["categories"])
        _mend_categories(content, done)
        _mend_format(content, done)
        _turn(content, looks, done)
        raw["annotations"] = [x for x in annotations if _mend_annotation(x, content, done)]
        raw["annotations"] = _mend_ids(_without_duplicates(raw["annotations"], done), done)
    return raw, done


def _without_repeats(entries: list[dict], done: Counter, what: str) -> list[dict]:
    kept = {json.dumps(entry, sort_keys=True): entry for entry in entries}
    done[what] += len(entries) - len(kept)
    return list(kept.values())


def _mend_images(raw: dict, root: str, done: Counter) -> dict:
    """Leave out images that cannot be read and set the others' sizes, but for those that EXIF data turn: by their ids
    what was seen in these."""
    kept, turned = [], {}
    for image in raw["images"]:
        look = look_at(os.path.join(root, image["file_name"]), decode=True)
        if look.problem:
            done["images left out that cannot be read"] += 1
            continue
        if look.size != look.size_as_read and (image["width"], image["height"]) == look.size:
            turned[image["id"]] = look
        elif (image["width"], image["height"]) != look.size_as_read:
            image["width"], image["height"] = look.size_as_read
            done["sizes of images set to those of the files"] += 1
        kept.append(image)
    raw["images"] = kept
    return turned


def _mend_categories(content: Content, done: Counter) -> None:
    by = shift_by(content)
    for x in content.objects:
        category = x.get("category_id")
        if by:
            x["category_id"] = category + by
            done[f"category ids shifted by {by:+d}"] += 1
        elif isinstance(category, str) and category.isdecimal() and int(category) in content.category_ids:
            x["category_id"] = int(category)
            done["category ids made numbers"] += 1


def _mend_format(content: Content, done: Counter) -> None:
    """Bring boxes that are all of another format to x, y, width, height in pixels."""
    boxes, sizes = content.boxes, content.image_sizes
    if normalised(content):
        boxes, what = boxes * np.tile(sizes, 2), "boxes multiplied by the size of their image"
    elif corners(content):
        boxes, what = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1), "boxes made of corners"
    else:
        return
    for x, box in zip(content.objects, boxes.tolist(), strict=True):
        if is_box(x.get("bbox")):
            _set_box(x, box)
            done[what] += 1


def _turn(content: Content, looks: dict[int | str, Look], done: Counter) -> None:
    """Turn boxes and sizes of images that EXIF data turn, and that were annotated without."""
    for x in content.objects:
        look = looks.get(x["image_id"]) if refers(x.get("image_id")) else None
        if look and is_box(x.get("bbox")):
            left, top, width, height = x["bbox"]
            turn = _TURNS[look.orientation]
            (x1, y1), (x2, y2) = turn(left, top, *look.size), turn(left + width, top + height, *look.size)
            _set_box(x, [min(x1, x2), min(y1, y2), abs(x2 - x1), abs(y2 - y1)])
            done["boxes turned with their picture"] += 1
    for i, look in looks.items():
        content.image_of[i]["width"], content.image_of[i]["height"] = look.size_as_read


def _set_box(annotation: dict, box: list[float]) -> None:
    annotation["bbox"] = box
    annotation["area"] = box[2] * box[3]
    for key in ("segmentation", "keypoints", "num_keypoints"):
        annotation.pop(key, None)


def _mend_annotation(x: dict, content: Content, done: Counter) -> bool:
    """Mend one annotation in place; False where it has to be left out."""
    image = content.image_of.get(x["image_id"]) if refers(x.get("image_id")) else None
    if image is None or not refers(x.get("category_id"), content.category_ids):
        done["annotations left out without an image or a category"] += 1
        return False
    box = _clipped(x["bbox"], image) if is_box(x.get("bbox")) else None
    if box is None:
        done["annotations left out without a box inside the image"] += 1
        return False
    if not np.allclose(box, x["bbox"], rtol=0, atol=1e-3):
        x["bbox"] = box
        done["boxes put in order and clipped to their image"] += 1
    if x.pop("ignore", 0):
        x["iscrowd"] = 1
        done["annotations with 'ignore' made crowd regions"] += 1
    if x.get("iscrowd") not in (0, 1):
        x["iscrowd"] = int(bool(x.get("iscrowd")))
        done["values of iscrowd set"] += 1
    area, full = x.get("area"), box[2] * box[3]
    if type(area) not in (int, float) or not LEAST_AREA * full <= area <= full + 1 + 0.02 * full:
        x["area"] = full
        done["areas set to those of the boxes"] += 1
    return True


def _clipped(box: list[float], image: dict) -> list[float] | None:
    """The box with a positive size and inside its image; None where nothing is left of it."""
    if not np.isfinite(box).all():
        return None
    x, y, width, height = box
    x1, x2 = (min(max(0, value), image["width"]) for value in sorted((x, x + width)))
    y1, y2 = (min(max(0, value), image["height"]) for value in sorted((y, y + height)))
    return [x1, y1, x2 - x1, y2 - y1] if x2 > x1 and y2 > y1 else None


def _without_duplicates(annotations: list[dict], done: Counter) -> list[dict]:
    kept = {}
    for x in annotations:
        kept.setdefault((x["image_id"], x["category_id"], *x["bbox"]), x)
    done["annotations left out that repeat another"] += len(annotations) - len(kept)
    return list(kept.values())


def _mend_ids(annotations: list[dict], done: Counter) -> list[dict]:
    """Give new ids to annotations without one, or with that of another."""
    holders = defaultdict(list)
    for x in annotations:
        holders[x["id"] if refers(x.get("id")) else None].append(x)
    fresh = max((i for i in holders if type(i) is int), default=0)
    for i, same in holders.items():
        for x in same if i is None else same[1:]:
            fresh += 1
            x["id"] = fresh
            done["annotations given an id of their own"] += 1
    return annotations
