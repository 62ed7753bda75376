"""Small datasets in COCO format, to be written and to be spoilt."""

import json

from PIL import Image


def content(ids=(1, 2, 3), num_images=4) -> dict:
    """Images of 20 x 10 pixels with as many objects as their number, from none."""
    annotations = [
        {"image_id": 10 * image, "category_id": ids[k % len(ids)], "bbox": [k, 1, 8, 4], "area": 32, "iscrowd": 0}
        for image in range(num_images)
        for k in range(image)
    ]
    return {
        "images": [{"id": 10 * i, "file_name": f"{i}.png", "width": 20, "height": 10} for i in range(num_images)],
        "annotations": [{"id": 100 + i, **annotation} for i, annotation in enumerate(annotations)],
        "categories": [{"id": i, "name": f"class {number}"} for number, i in enumerate(ids)],
    }


def write(folder, split: str, data) -> dict:
    """Write a split; returns what names it."""
    images, annotations = folder / split, folder / f"{split}.json"
    images.mkdir(parents=True, exist_ok=True)
    for image in data["images"] if isinstance(data, dict) else []:
        if isinstance(image, dict) and isinstance(image.get("file_name"), str):
            Image.new("RGB", (20, 10)).save(images / image["file_name"])
    annotations.write_text(data if isinstance(data, str) else json.dumps(data))
    return {"annotations": annotations, "images": images}


def annotation(data, index, **changes):
    data["annotations"][index].update(changes)


def without(data, key, *indices):
    for i in indices:
        del data["annotations"][i][key]


def as_floats(data) -> dict:
    """All whole numbers as pandas writes them beside missing ones."""
    for part, keys in (
        ("images", ("id", "width", "height")),
        ("categories", ("id",)),
        ("annotations", ("id", "image_id", "category_id", "iscrowd")),
    ):
        for x in data[part]:
            x.update({key: float(x[key]) for key in keys})
    return data
