"""Folders of pictures with labels, as users have them: YOLO, Pascal VOC and an export of Roboflow."""

import json
from pathlib import Path

from PIL import Image

NAMES = ("cat", "dog")


def picture(path: Path, number: int) -> None:
    """A picture of 20 x 10 pixels with one object, whose color is that of its class."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.new("RGB", (20, 10), (90, 90, 90))
    image.paste((200, 30, 30) if number % 2 else (30, 30, 200), (4, 3, 12, 7))
    image.save(path)


def yolo(root: Path, number: int = 6) -> Path:
    """data.yaml, pictures and labels, and no validation set."""
    for i in range(number):
        picture(root / f"images/train/{i}.png", i)
        labels = root / f"labels/train/{i}.txt"
        labels.parent.mkdir(parents=True, exist_ok=True)
        labels.write_text(f"{i % 2} 0.4 0.5 0.4 0.4\n")
    (root / "data.yaml").write_text(f"path: .\ntrain: images/train\nnames: [{', '.join(NAMES)}]\n")
    return root


def voc(root: Path, number: int = 6) -> Path:
    """JPEGImages, Annotations and the lists of both splits; a third of the pictures is val."""
    for i in range(number):
        picture(root / f"JPEGImages/{i}.png", i)
        path = root / f"Annotations/{i}.xml"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            f"<annotation><filename>{i}.png</filename><size><width>20</width><height>10</height><depth>3</depth></size>"
            f"<object><name>{NAMES[i % 2]}</name><bndbox><xmin>5</xmin><ymin>4</ymin><xmax>12</xmax><ymax>7</ymax>"
            "</bndbox></object></annotation>"
        )
    lists = root / "ImageSets/Main"
    lists.mkdir(parents=True)
    (lists / "train.txt").write_text("".join(f"{i}\n" for i in range(number) if i % 3))
    (lists / "val.txt").write_text("".join(f"{i}\n" for i in range(0, number, 3)))
    return root


def roboflow(root: Path, number: int = 6) -> Path:
    """`_annotations.coco.json` in train and valid."""
    for split in ("train", "valid"):
        images, annotations = [], []
        for i in range(number):
            picture(root / split / f"{i}.png", i)
            images.append({"id": i, "file_name": f"{i}.png", "width": 20, "height": 10})
            box = {"bbox": [4, 3, 8, 4], "area": 32, "iscrowd": 0}
            annotations.append({"id": i + 1, "image_id": i, "category_id": 1 + i % 2, **box})
        categories = [{"id": k, "name": name} for k, name in enumerate(NAMES, 1)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / split / "_annotations.coco.json").write_text(json.dumps(content))
    return root
