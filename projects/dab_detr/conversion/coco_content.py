"""The annotation file in COCO format that a conversion writes."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..data.content import as_int, is_id
from .records import Item, Picture

MARK = "converted by dab_detr"  # in the info of these files, so that a later conversion does not take them for a source


def coco_content(pictures: list[Picture], categories: dict[str, dict[str, Any]], folder: Path, source: str) -> dict:
    """Return the content of an annotation file.

    folder: the folder that the file names start from.
    source: the format that the pictures were read from, for the description.

    Ids of images and annotations are kept if the source has them, all are different, and ids of annotations are above
    0, which pycocotools needs. Otherwise they count from 1.
    """
    items = [item for picture in pictures for item in picture.items]
    image_ids = kept_ids([picture.extra.get("id") for picture in pictures]) or range(1, len(pictures) + 1)
    item_ids = kept_ids([item.extra.get("id") for item in items], above=0) or range(1, len(items) + 1)
    images, annotations, numbers = [], [], iter(item_ids)
    for image_id, picture in zip(image_ids, pictures, strict=True):
        width, height = picture.size
        name = picture.path.relative_to(folder).as_posix()
        images.append({**picture.extra, "id": image_id, "file_name": name, "width": width, "height": height})
        for item in picture.items:
            ids = {"id": next(numbers), "image_id": image_id, "category_id": categories[item.name]["id"]}
            annotations.append({**annotation_keys(item), **ids})
    info = {"description": f"{MARK} from {source}"}
    return {"info": info, "images": images, "annotations": annotations, "categories": list(categories.values())}


def annotation_keys(item: Item) -> dict[str, Any]:
    """The keys of an annotation without its ids. The area is that of the box, unless the source has one."""
    x, y, w, h = (round(value, 4) for value in item.box)
    outlines = [[round(value, 4) for value in outline] for outline in item.outlines]
    keys = {"bbox": [x, y, w, h], "area": round(w * h, 4), "iscrowd": 0}
    return {**keys, **({"segmentation": outlines} if outlines else {}), **item.extra}


def kept_ids(ids: Iterable[Any], above: int = -1) -> list[int] | None:
    """The ids as whole numbers if all of them are, are different and above a number; otherwise None."""
    found = [as_int(i) if is_id(i) else None for i in ids]
    usable = all(type(i) is int and above < i < 2**53 for i in found)
    return found if found and usable and len(set(found)) == len(found) else None
