"""Random datasets there and back: every picture and every object is written, or named."""

import json
import random
from pathlib import Path

import pytest
from PIL import Image

from dab_detr.conversion import convert, recognize

NAMES = ["cat", "yes", "null", "7", "Käse", "a b", "no", "犬"]
FOLDERS = ["", "day/", "night/deep/", "a.b/"]
SUFFIXES = [".png", ".jfif", ".gif", ".JPG", ".bmp"]


def random_truth(rng: random.Random) -> dict[str, dict[str, list[tuple]]]:
    """split -> file name -> (class, x, y, width, height) in pictures of 40 x 20 pixels."""
    names = rng.sample(NAMES, rng.randint(1, 5))
    truth, number = {}, 0
    for split in rng.choice([["train"], ["train", "val"], ["test"], ["train", "val", "test"]]):
        truth[split] = {}
        for _ in range(rng.randint(1, 4)):
            number += 1
            name = f"{rng.choice(FOLDERS)}p{number}{rng.choice(SUFFIXES)}"
            truth[split][name] = [random_object(rng, names) for _ in range(rng.randint(0, 3))]
    next(iter(truth["test" if "test" in truth else "train"].values())).append(random_object(rng, names))
    return truth


def random_object(rng: random.Random, names: list[str]) -> tuple:
    x, y = rng.randint(0, 30), rng.randint(0, 12)
    return rng.choice(names), x, y, rng.randint(1, 40 - x), rng.randint(1, 20 - y)


def save(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (40, 20)).save(path, format="JPEG" if path.suffix == ".jfif" else None)


def write_yolo(root: Path, truth: dict, rng: random.Random, layout: str) -> None:
    used = sorted({x[0] for images in truth.values() for objects in images.values() for x in objects})
    start = rng.choice([0, 6])
    for split, images in truth.items():
        for name, objects in images.items():
            path = root / layout.format(split) / name
            save(path)
            label = Path(str(path).replace("images", "labels")).with_suffix(".txt")
            label.parent.mkdir(parents=True, exist_ok=True)
            rows = []
            for c, x, y, w, h in objects:
                corners = [x, y, x + w, y, x + w, y + h, x, y + h]
                outline = [v / (20 if i % 2 else 40) for i, v in enumerate(corners)]
                box = [(x + w / 2) / 40, (y + h / 2) / 20, w / 40, h / 20]
                rows.append(" ".join(map(str, [start + used.index(c), *rng.choice([outline, box])])))
            label.write_text(
                rng.choice(["\n", "\r\n"]).join(rows), encoding=rng.choice(["utf-8", "utf-8-sig", "utf-16"])
            )
    keys = {"val": rng.choice(["val", "valid"])}
    lines = [f"{keys.get(split, split)}: {layout.format(split)}" for split in truth]
    lines += ["names:", *(f"  {start + i}: {name}" for i, name in enumerate(used))]
    (root / "data.yaml").write_text("\n".join(lines), encoding="utf-8")


def write_voc(root: Path, truth: dict, rng: random.Random, layout: str) -> None:
    for split, images in truth.items():
        for name, objects in images.items():
            path = root / layout.format(split) / name
            save(path)
            label = Path(str(path).replace("images", "annotations")).with_suffix(".xml")
            label.parent.mkdir(parents=True, exist_ok=True)
            nodes = "".join(
                f"<object><name>{c}</name><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin><xmax>{x + w}</xmax>"
                f"<ymax>{y + h}</ymax></bndbox></object>"
                for c, x, y, w, h in objects
            )
            text = f"<annotation><filename>{path.name}</filename>{nodes}</annotation>"
            label.write_text(text, encoding=rng.choice(["utf-8", "utf-16"]))


def write_labelme(root: Path, truth: dict, rng: random.Random, layout: str) -> None:
    for split, images in truth.items():
        for name, objects in images.items():
            path = root / layout.format(split) / name
            save(path)
            shapes = [
                {"label": c, "shape_type": "rectangle", "points": [[x + w, y], [x, y + h]]} for c, x, y, w, h in objects
            ]
            text = json.dumps({"imagePath": path.name, "shapes": shapes}, ensure_ascii=rng.random() < 0.5)
            path.with_suffix(".json").write_text(text, encoding=rng.choice(["utf-8", "utf-8-sig"]))


def write_coco(root: Path, truth: dict, rng: random.Random, layout: str) -> None:
    used = sorted({x[0] for images in truth.values() for objects in images.values() for x in objects})
    slash = rng.choice(["/", "\\"])
    for split, images in truth.items():
        for name in images:
            save(root / split / name)
        nodes = [
            {"id": 10 * i + k, "image_id": i, "category_id": used.index(c), "bbox": box, "iscrowd": 0}
            for i, objects in enumerate(images.values())
            for k, (c, *box) in enumerate(objects)
        ]
        content = {
            "images": [{"id": i, "file_name": name.replace("/", slash)} for i, name in enumerate(images)],
            "annotations": nodes,
            "categories": [{"id": i, "name": name} for i, name in enumerate(used)],
        }
        (root / split / "_annotations.coco.json").write_text(json.dumps(content))


WRITERS = {
    "yolo": (write_yolo, ["images/{}", "{}/images"]),
    "voc": (write_voc, ["images/{}", "{}/images", "{}"]),
    "labelme": (write_labelme, ["images/{}", "{}/images", "{}"]),
    "coco": (write_coco, ["{}"]),
}


@pytest.mark.parametrize("seed", range(200))
def test_nothing_is_lost_merged_or_renamed(tmp_path, seed):
    rng = random.Random(seed)
    truth = random_truth(rng)
    write, layouts = WRITERS[list(WRITERS)[seed % 4]]
    root = tmp_path / "d"
    write(root, truth, rng, rng.choice(layouts))
    (root / "._hidden.png").write_bytes(b"x")
    extra = rng.random() < 0.3 and len(truth) > 1
    if extra:
        save(root / "elsewhere" / "extra.png")
    report = convert(recognize(root), tmp_path / "o")
    assert set(report.outputs) == set(truth)
    for split, images in truth.items():
        content = json.loads((tmp_path / "o" / f"{split}.json").read_text())
        names = {x["id"]: x["file_name"] for x in content["images"]}
        classes = {c["id"]: c["name"] for c in content["categories"]}
        found = {name: [] for name in names.values()}
        for x in content["annotations"]:
            found[names[x["image_id"]]].append((classes[x["category_id"]], *(round(v, 2) for v in x["bbox"])))
        assert {k: sorted(v) for k, v in found.items()} == {k: sorted(v) for k, v in images.items()}
        assert all((report.outputs[split].images / name).is_file() for name in names.values())
    text = "\n".join(report.lines())
    assert ("extra.png" in text) == extra and "hidden" not in text
