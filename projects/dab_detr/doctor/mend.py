"""A mended copy of a dataset's annotations: what can be put right is, what cannot is left out or stays as it is."""

import copy
import json
import os
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from detectron2.utils.file_io import PathManager

from ..data.content import Content, is_box, number, refers, whole
from .files import Look, look_at
from .formats import of_corners, of_shares
from .ids import mend_annotation_ids, mend_categories, mend_image_ids, mend_references
from .objects import LEAST_AREA
from .outlines import is_kept, is_mask, is_points, is_polygon

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

    Raises:
        ValueError: no image or no annotation would be left; says why.
    """
    raw, done, before = copy.deepcopy(raw), Counter(), raw
    for key in ("categories", "images"):
        raw[key] = _without_repeats(raw[key], done, f"entries of {key} left out that are there twice")
    mend_categories(raw["categories"], done)
    looks = _mend_images(raw, root, done)
    if raw.get("annotations"):
        annotations = raw["annotations"]
        content = Content(images=raw["images"], annotations=annotations, categories=raw["categories"])
        mend_references(content, done)
        _mend_format(content, done)
        _turn(content, looks, done)
        raw["annotations"] = [x for x in annotations if _mend_annotation(x, content, done)]
        raw["annotations"] = _without_duplicates(raw["annotations"], done)
        mend_annotation_ids(raw["annotations"], done)
    for key in ("images", "annotations"):
        if before.get(key) and not raw[key]:
            raise ValueError(
                f"none of the {len(before[key])} {key} would be left, so nothing is written: "
                f"{'; '.join(f'{count} {what}' for what, count in done.items() if count)} (images are in {root})"
            )
    return raw, done


def _without_repeats(entries: list[dict], done: Counter, what: str) -> list[dict]:
    kept = {json.dumps(entry, sort_keys=True): entry for entry in entries}
    done[what] += len(entries) - len(kept)
    return list(kept.values())


def _mend_images(raw: dict, root: str, done: Counter) -> dict:
    """Leave out images that cannot be read and set the others' sizes, but for those that EXIF data turn: by their ids
    what was seen in these."""
    kept, turned = [], {}
    mend_image_ids(raw["images"], done)
    for image in raw["images"]:
        slashed = image["file_name"].replace("\\", "/")
        if not _is_there(root, image["file_name"]) and _is_there(root, slashed):
            image["file_name"] = slashed
            done["file names written with / in the place of \\"] += 1
        look = look_at(os.path.join(root, image["file_name"]))
        if look.problem:
            done["images left out that cannot be read"] += 1
            continue
        stated = image.get("width"), image.get("height")
        if look.size != look.size_as_read and tuple(map(whole, stated)) == look.size:
            turned[image["id"]] = look
        elif stated != look.size_as_read or not all(type(x) is int for x in stated):
            image["width"], image["height"] = look.size_as_read
            done["sizes of images set to those of the files"] += 1
        kept.append(image)
    raw["images"] = kept
    return turned


def _is_there(root: str, name: str) -> bool:
    return PathManager.isfile(os.path.join(root, name))


def _mend_format(content: Content, done: Counter) -> None:
    """Bring boxes that are clearly of another format to x, y, width, height in pixels."""
    for found, what in (
        (of_shares(content), "boxes multiplied by the size of their image that were"),
        (of_corners(content), "boxes made of"),
    ):
        if found:
            for i, box in zip(np.flatnonzero(found.chosen), found.boxes.tolist(), strict=True):
                _set_box(content.objects[i], box)
            done[f"{what} {found.name}"] += len(found.boxes)


def _turn(content: Content, looks: dict[int | str, Look], done: Counter) -> None:
    """Turn boxes and sizes of images that EXIF data turn, and that were annotated without."""
    for x in content.objects:
        look = looks.get(x["image_id"]) if refers(x.get("image_id")) else None
        if look and is_box(x.get("bbox")):
            left, top, width, height = map(number, x["bbox"])
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
    _mend_flags(x, done)
    _mend_outlines(x, done)
    area, full = number(x.get("area")), box[2] * box[3]
    if not LEAST_AREA * full <= area <= full + 1 + 0.02 * full:
        x["area"] = full
        done["areas set to those of the boxes"] += 1
    return True


def _mend_flags(x: dict, done: Counter) -> None:
    """Make iscrowd 0 or 1, and of an `ignore` a crowd region; a text that is no number stays as it is."""
    ignored, crowd = _flag(x.get("ignore")), _flag(x.get("iscrowd"))
    if x.get("ignore", 0) != 0 and ignored is not None:
        crowd = ignored or crowd
        del x["ignore"]
        done["values of 'ignore' made iscrowd"] += 1
    if crowd is not None and x.get("iscrowd") != crowd:
        x["iscrowd"] = crowd
        done["values of iscrowd set"] += 1


def _flag(value: Any) -> int | None:
    """0 or 1 of a number, also of one that is text, and of nothing; None of what has no such meaning."""
    known = whole(value or 0)
    return int(known != 0) if isinstance(known, (int, float)) else None


def _mend_outlines(x: dict, done: Counter) -> None:
    """Put a polygon that stands alone into a list, and leave out what is no mask and what are no key points."""
    mask = x.get("segmentation")
    if is_polygon(mask):
        x["segmentation"] = [mask]
        done["polygons put into a list"] += 1
    elif not is_mask(mask) or not is_kept(mask):
        del x["segmentation"]
        done["masks left out that are none"] += 1
    if not is_points(x.get("keypoints")):
        del x["keypoints"]
        done["key points left out that are none"] += 1


def _clipped(box: list[float], image: dict) -> list[float] | None:
    """The box with a positive size and inside its image; None where nothing is left of it."""
    x, y, width, height = map(number, box)
    if not np.isfinite([x, y, width, height]).all():
        return None
    x1, x2 = (min(max(0, value), image["width"]) for value in sorted((x, x + width)))
    y1, y2 = (min(max(0, value), image["height"]) for value in sorted((y, y + height)))
    return [x1, y1, x2 - x1, y2 - y1] if x2 > x1 and y2 > y1 else None


def _without_duplicates(annotations: list[dict], done: Counter) -> list[dict]:
    kept = {}
    for x in annotations:
        kept.setdefault((x["image_id"], x["category_id"], *x["bbox"]), x)
    done["annotations left out that repeat another"] += len(annotations) - len(kept)
    return list(kept.values())
