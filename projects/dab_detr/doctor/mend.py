"""Write a mended copy of a dataset's annotations: correct faults where possible, otherwise leave out or keep the entry.

The rules:

- The images are never touched, and the order of the entries stays.
- Where annotations repeat each other (same image, category and box), the copy keeps one: the first that is not a crowd
  region, or the first if all are.
- Where boxes are moved, because their format changes or their image is turned, masks and key points are left out: they
  would no longer fit.
"""

import copy
import json
import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from detectron2.utils.file_io import PathManager

from ..data.content import Content, as_int, is_box, is_id, number
from .files import TOO_THIN, Look, aspect_ratio, look_at
from .formats import corner_format, normalized_format
from .ids import mend_annotation_ids, mend_categories, mend_image_ids, mend_references
from .objects import LEAST_AREA
from .outlines import is_kept, is_mask, is_points, is_polygon
from .places import found_by_base_name

# (x, y) in a file of (w, h) pixels to its place in the image turned by this EXIF orientation
TURNS: dict[int, Callable[[float, float, int, int], tuple[float, float]]] = {
    5: lambda x, y, w, h: (y, x),
    6: lambda x, y, w, h: (h - y, x),
    7: lambda x, y, w, h: (h - y, w - x),
    8: lambda x, y, w, h: (y, w - x),
}


def mend(raw: dict, root: str) -> tuple[dict, Counter]:
    """Mend the content of an annotation file whose images are in the folder `root`.

    Returns the mended content, and the number of changes by their description.

    Raises ValueError if no image or no annotation would be left, and says why.
    """
    raw, done, before = copy.deepcopy(raw), Counter(), raw
    for key in ("categories", "images"):
        raw[key] = without_repeats(raw[key], done, f"repeated entries of {key} left out")
    mend_categories(raw["categories"], done)
    looks = mend_images(raw, root, done)
    if raw.get("annotations"):
        annotations = raw["annotations"]
        for x in annotations:
            mend_numbers(x, done)
        content = Content.from_json(raw)
        mend_references(content, done)
        mend_format(content, done)
        turn_boxes(content, looks, done)
        raw["annotations"] = [x for x in annotations if mend_annotation(x, content, done)]
        raw["annotations"] = without_duplicates(raw["annotations"], done)
        mend_annotation_ids(raw["annotations"], done)
    for key in ("images", "annotations"):
        if before.get(key) and not raw[key]:
            raise ValueError(
                f"none of the {len(before[key])} {key} would be left, so nothing is written: "
                f"{'; '.join(f'{count} {what}' for what, count in done.items() if count)} (images are in {root})"
            )
    return raw, done


def without_repeats(entries: list[dict], done: Counter, what: str) -> list[dict]:
    """The entries without those that are equal to an earlier one."""
    kept = {json.dumps(entry, sort_keys=True): entry for entry in entries}
    done[what] += len(entries) - len(kept)
    return list(kept.values())


def mend_images(raw: dict, root: str, done: Counter) -> dict:
    """Drop unusable images and correct the sizes of the others, except those that EXIF data turn.

    Returns what was read of the turned images, by image id.
    """
    kept, turned = [], {}
    mend_image_ids(raw["images"], done)
    mend_file_names(raw["images"], root, done)
    for image in raw["images"]:
        look = look_at(os.path.join(root, image["file_name"]))
        if look.problem:
            done["images left out that cannot be read"] += 1
            continue
        if aspect_ratio(*look.size) > TOO_THIN:
            done["images left out that are too thin to be resized"] += 1
            continue
        stated = image.get("width"), image.get("height")
        if look.size != look.size_as_read and tuple(map(as_int, stated)) == look.size:
            turned[image["id"]] = look
        elif stated != look.size_as_read or not all(type(x) is int for x in stated):
            image["width"], image["height"] = look.size_as_read
            done["image sizes set to those of the files"] += 1
        kept.append(image)
    raw["images"] = kept
    return turned


def mend_file_names(images: list[dict], root: str, done: Counter) -> None:
    """Replace file names from another system by the names of the files below `root`."""
    missing = [x for x in images if not is_there(root, x["file_name"])]
    elsewhere = found_by_base_name(root, [x["file_name"] for x in missing])
    for image in missing:
        slashed = image["file_name"].replace("\\", "/")
        if is_there(root, slashed):
            image["file_name"] = slashed
            done["file names written with / instead of \\"] += 1
        elif image["file_name"] in elsewhere:
            image["file_name"] = elsewhere[image["file_name"]]
            done["images found by their base name, whose file names are written as they are found"] += 1


def is_there(root: str, name: str) -> bool:
    """Whether the folder `root` has a file of this name."""
    return PathManager.isfile(os.path.join(root, name))


def mend_format(content: Content, done: Counter) -> None:
    """Convert boxes that certainly have another format to x, y, width, height in pixels."""
    for found, what in (
        (normalized_format(content), "boxes multiplied by the size of their image, read as"),
        (corner_format(content), "boxes converted from"),
    ):
        if found:
            for i, box in zip(np.flatnonzero(found.chosen), found.boxes.tolist(), strict=True):
                set_box(content.objects[i], box)
            done[f"{what} {found.name}"] += len(found.boxes)


def turn_boxes(content: Content, looks: dict[int | str, Look], done: Counter) -> None:
    """Turn boxes and sizes of images that EXIF data turn but that were annotated as stored."""
    for x in content.objects:
        look = looks.get(x["image_id"]) if is_id(x.get("image_id")) else None
        if look and is_box(x.get("bbox")):
            left, top, width, height = map(number, x["bbox"])
            turn = TURNS[look.orientation]
            (x1, y1), (x2, y2) = turn(left, top, *look.size), turn(left + width, top + height, *look.size)
            set_box(x, [min(x1, x2), min(y1, y2), abs(x2 - x1), abs(y2 - y1)])
            done["boxes turned with their image"] += 1
    for i, look in looks.items():
        content.image_of[i]["width"], content.image_of[i]["height"] = look.size_as_read


def set_box(annotation: dict, box: list[float]) -> None:
    """Give an annotation another box, and drop what belonged to the old one."""
    annotation["bbox"] = box
    annotation["area"] = box[2] * box[3]
    for key in ("segmentation", "keypoints", "num_keypoints"):
        annotation.pop(key, None)


def mend_numbers(x: Any, done: Counter) -> None:
    """Turn the numbers of a box that are text into numbers. Other text stays, and is no box."""
    box = x.get("bbox") if isinstance(x, dict) else None
    if not isinstance(box, list) or not any(isinstance(value, str) for value in box):
        return
    try:
        x["bbox"] = list(map(float, box))
    except (TypeError, ValueError, OverflowError):
        return
    done["boxes of text written as numbers"] += 1


def mend_annotation(x: dict, content: Content, done: Counter) -> bool:
    """Mend one annotation in place; False if it must be left out."""
    image = content.image_of.get(x["image_id"]) if is_id(x.get("image_id")) else None
    if image is None or not is_id(x.get("category_id"), content.category_ids):
        done["annotations left out without an image or a category"] += 1
        return False
    box = clipped(x["bbox"], image) if is_box(x.get("bbox")) else None
    if box is None:
        done["annotations left out without a box inside the image"] += 1
        return False
    if not np.allclose(box, x["bbox"], rtol=0, atol=1e-3):
        x["bbox"] = box
        done["boxes put in order and clipped to their image"] += 1
    mend_flags(x, done)
    mend_outlines(x, done)
    area, full = number(x.get("area")), box[2] * box[3]
    if not LEAST_AREA * full <= area <= full + 1 + 0.02 * full:
        x["area"] = full
        done["areas set to those of the boxes"] += 1
    return True


def mend_flags(x: dict, done: Counter) -> None:
    """Turn iscrowd into 0 or 1, and `ignore` into a crowd region; text that is not a number stays."""
    ignored, crowd = as_flag(x.get("ignore")), as_flag(x.get("iscrowd"))
    if x.get("ignore", 0) != 0 and ignored is not None:
        crowd = ignored or crowd
        del x["ignore"]
        done["values of 'ignore' turned into iscrowd"] += 1
    if crowd is not None and ("iscrowd" not in x or x["iscrowd"] != crowd):
        x["iscrowd"] = crowd
        done["values of iscrowd set"] += 1


def as_flag(value: Any) -> int | None:
    """0 or 1 for a number (also as text) or a missing value; None for a value that means neither."""
    known = as_int(value or 0)
    return int(known != 0) if isinstance(known, (int, float)) else None


def mend_outlines(x: dict, done: Counter) -> None:
    """Put a single polygon into a list, and drop masks and key points that cannot be read."""
    mask = x.get("segmentation")
    if is_polygon(mask):
        x["segmentation"] = [mask]
        done["polygons put into a list"] += 1
    elif not is_mask(mask) or not is_kept(mask):
        del x["segmentation"]
        done["masks left out that cannot be read"] += 1
    if not is_points(x.get("keypoints")):
        del x["keypoints"]
        done["key points left out that cannot be read"] += 1


def clipped(box: list[float], image: dict) -> list[float] | None:
    """The box with a positive size and inside its image; None if nothing is left of it."""
    x, y, width, height = map(number, box)
    if not np.isfinite([x, y, width, height]).all():
        return None
    x1, x2 = (min(max(0, value), image["width"]) for value in sorted((x, x + width)))
    y1, y2 = (min(max(0, value), image["height"]) for value in sorted((y, y + height)))
    return [x1, y1, x2 - x1, y2 - y1] if x2 > x1 and y2 > y1 else None


def without_duplicates(annotations: list[dict], done: Counter) -> list[dict]:
    """One annotation of each image, category and box: the first that is not a crowd region, or the first."""
    kept: dict[tuple, dict] = {}
    for x in annotations:
        key = (x["image_id"], x["category_id"], *x["bbox"])
        if key not in kept or (kept[key].get("iscrowd") and not x.get("iscrowd")):
            kept[key] = x
    chosen = set(map(id, kept.values()))
    what = "annotations left out that repeat another (kept: the first that is not a crowd region)"
    done[what] += len(annotations) - len(kept)
    return [x for x in annotations if id(x) in chosen]
