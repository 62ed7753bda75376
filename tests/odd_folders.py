"""Small datasets of one or two pictures, which a test makes odd: YOLO, Pascal VOC and COCO."""

import json
from pathlib import Path

from PIL import Image

from dab_detr.conversion import convert, recognize

ROW = "0 0.5 0.5 0.4 0.2\n"  # in 20 x 10 pixels: x 6, y 4, width 8, height 2
BOX = [6, 4, 8, 2]


def picture(path: Path, orientation: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (20, 10)).save(path, exif=exif, format=None if path.suffix != ".jfif" else "JPEG")
    return path


def yolo(root: Path, files=("a.png",), yaml="train: images/train\nnames: [cat]\n", row: str | bytes = ROW) -> Path:
    for name in files:
        picture(root / "images" / "train" / name)
        label = (root / "labels" / "train" / name).with_suffix(".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_bytes(row if isinstance(row, bytes) else row.encode())
    (root / "data.yaml").write_text(yaml)
    return root


def converted(root: Path, out: Path, split: str = "train", **options) -> tuple[dict, str]:
    """The content of a split, and the report."""
    report = convert(recognize(root), out, overwrite=True, **options)
    return json.loads((out / f"{split}.json").read_text()), "\n".join(report.lines())


def boxes(content: dict) -> list[list[float]]:
    return [x["bbox"] for x in content["annotations"]]


def flat_voc(root: Path, name: str = "cat", encoding: str = "utf-8", size=(20, 10), box=(7, 5, 14, 6)) -> Path:
    """A picture and its file side by side, as LabelImg leaves them; corners count from 1."""
    picture(root / "a.png")
    corners = "".join(f"<{k}>{v}</{k}>" for k, v in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True))
    text = (
        f"<annotation><filename>a.png</filename><size><width>{size[0]}</width><height>{size[1]}</height></size>"
        f"<object><name>{name}</name><bndbox>{corners}</bndbox></object></annotation>"
    )
    (root / "a.xml").write_bytes(text.encode(encoding))
    return root


def coco(root: Path, name: str = "day/a.png", **annotation) -> Path:
    picture(root / "train" / "day" / "a.png")
    node = {"id": 0, "image_id": 5, "category_id": 2, "bbox": BOX, "area": 3, "iscrowd": 0, **annotation}
    content = {
        "images": [{"id": 5, "file_name": name, "width": 20, "height": 10}],
        "annotations": [node],
        "categories": [
            {"id": 1, "name": "cat", "supercategory": "none"},
            {"id": 2, "name": "cat", "supercategory": "cat"},
        ],
    }
    (root / "train" / "_annotations.coco.json").write_text(json.dumps(content))
    return root
