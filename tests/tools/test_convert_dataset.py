"""Datasets of other formats become annotation files that the doctor has nothing against."""

import json
import re
from pathlib import Path

import pytest
from PIL import Image

from dab_detr.doctor.examine import examine
from tools.convert_dataset import main

# what is in the pictures, by split and file name: (class, x, y, width, height) in pixels
TRUTH = {
    "train": {"a.jpg": [("dog", 2, 1, 10, 6), ("cat", 10, 4, 8, 4)], "b.PNG": [], "c.png": [("dog", 0, 0, 20, 10)]},
    "val": {"d.png": [("cat", 5, 5, 4, 4)], "e.jpg": [("dog", 1, 1, 3, 8)]},
}
CLASSES = ["cat", "dog"]


def pictures(folder: Path, split: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in TRUTH[split]:
        Image.new("RGB", (20, 10), (ord(name[0]), 0, 0)).save(folder / name)
    return folder


def yolo(root: Path, layout="images/{}", names: object = CLASSES, **keys) -> Path:
    """Labels are x, y of the centre, width, height in shares of the image; a picture of background may have none."""
    for split, images in TRUTH.items():
        folder = root / layout.format(split)
        labels = Path(str(pictures(folder, split)).replace("images", "labels"))
        labels.mkdir(parents=True, exist_ok=True)
        for name, objects in images.items():
            lines = [
                f"{CLASSES.index(c)} {(x + w / 2) / 20} {(y + h / 2) / 10} {w / 20} {h / 10}\n"
                for c, x, y, w, h in objects
            ]
            if lines or split == "val":
                (labels / name).with_suffix(".txt").write_text("".join(lines))
    content = {"train": layout.format("train"), "val": layout.format("val"), "names": names, "nc": 2, **keys}
    (root / "data.yaml").write_text(json.dumps(content))  # JSON is YAML
    return root / "data.yaml"


def roboflow(root: Path) -> Path:
    """The paths of its data.yaml are wrong, as the export has them."""
    return yolo(root, "{}/images", train="../train/images", val="../val/images")


def xml(name: str, objects) -> str:
    """Pascal VOC counts pixels from 1 and includes the last."""
    boxes = "".join(
        f"<object><name>{c}</name><bndbox><xmin>{x + 1}</xmin><ymin>{y + 1}</ymin>"
        f"<xmax>{x + w}</xmax><ymax>{y + h}</ymax></bndbox></object>"
        for c, x, y, w, h in objects
    )
    return (
        f"<annotation><filename>{name}</filename>"
        f"<size><width>20</width><height>10</height><depth>3</depth></size>{boxes}</annotation>"
    )


def voc(root: Path) -> Path:
    for folder in ("Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for split, images in TRUTH.items():
        pictures(root / "JPEGImages", split)
        for name, objects in images.items():
            (root / "Annotations" / name).with_suffix(".xml").write_text(xml(name, objects))
        lines = [f"{Path(name).stem}\n" for name in images]
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("".join(lines))
    return root


def voc_folders(root: Path) -> Path:
    """A folder for each split, one of them under another name."""
    for split, folder in (("train", root / "train"), ("val", root / "valid")):
        pictures(folder, split)
        for name, objects in TRUTH[split].items():
            (folder / name).with_suffix(".xml").write_text(xml(name, objects))
    return root


def labelme(root: Path) -> Path:
    for split, images in TRUTH.items():
        folder = pictures(root / split, split)
        for name, objects in images.items():
            shapes = [
                {"label": c, "shape_type": "rectangle", "points": [[x, y], [x + w, y + h]]} for c, x, y, w, h in objects
            ]
            content = {"imagePath": name, "imageWidth": 20, "imageHeight": 10, "shapes": shapes}
            (folder / name).with_suffix(".json").write_text(json.dumps(content))
    return root


def coco(root: Path) -> Path:
    for split, images in TRUTH.items():
        folder = pictures(root / split, split)
        content = {
            "categories": [{"id": 10, "name": "dog"}, {"id": 3, "name": "cat"}],
            "images": [
                {"id": 7 * i, "file_name": name, "width": 20, "height": 10} for i, name in enumerate(images)
            ],
            "annotations": [
                {"image_id": 7 * i, "category_id": 10 if c == "dog" else 3, "bbox": box, "area": box[2] * box[3],
                 "iscrowd": 0, "id": 100 * i + k}
                for i, objects in enumerate(images.values())
                for k, (c, *box) in enumerate(objects)
            ],
        }  # fmt: skip
        (folder / "_annotations.coco.json").write_text(json.dumps(content))
    return root


LAYOUTS = {
    "yolo": yolo,
    "yolo by its folder": lambda root: yolo(root).parent,
    "yolo with numbered names": lambda root: yolo(root, names={"0": "cat", "1": "dog"}),
    "yolo with a path": lambda root: yolo(root / "x", path="../x"),
    "yolo of roboflow": roboflow,
    "voc": voc,
    "voc by folders": voc_folders,
    "labelme": labelme,
    "coco by folders": coco,
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_layout(tmp_path, layout, capsys):
    source = layout(tmp_path / "data")
    before = sorted(path for path in (tmp_path / "data").rglob("*"))
    assert main([str(source), str(tmp_path / "out")]) == 0
    assert sorted(path for path in (tmp_path / "data").rglob("*")) == before
    out = capsys.readouterr().out
    folders = dict(re.findall(r"(\w+)\.json: .*pictures in (.*)", out))
    for split, images in TRUTH.items():
        content = json.loads((tmp_path / "out" / f"{split}.json").read_text())
        assert [c["name"] for c in content["categories"]] == CLASSES
        assert [x["file_name"] for x in content["images"]] == sorted(images)
        found = {name: [] for name in images}
        names = {x["id"]: x["file_name"] for x in content["images"]}
        classes = {c["id"]: c["name"] for c in content["categories"]}
        for x in content["annotations"]:
            found[names[x["image_id"]]].append((classes[x["category_id"]], *(round(v, 3) for v in x["bbox"])))
        assert {name: sorted(objects) for name, objects in found.items()} == {
            name: sorted(objects) for name, objects in images.items()
        }
        assert f"{split}.json: {len(images)} images" in out
    splits = [(str(tmp_path / "out" / f"{split}.json"), str(folders[split])) for split in TRUTH]
    told = {x.kind for findings in examine(*splits).values() for x in findings}
    assert told <= {"image without objects", "image without entry"}


def test_polygons_of_yolo_are_boxes(tmp_path):
    source = yolo(tmp_path)
    (tmp_path / "labels" / "val" / "d.txt").write_text("0 0.25 0.5 0.45 0.5 0.45 0.9 0.25 0.9\n")
    main([str(source), str(tmp_path / "out")])
    content = json.loads((tmp_path / "out" / "val.json").read_text())
    assert content["annotations"][0]["bbox"] == pytest.approx([5, 5, 4, 4], abs=1)


def test_pictures_that_exif_data_turn(tmp_path):
    source = yolo(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (20, 10)).save(tmp_path / "images" / "val" / "d.png", exif=exif)
    main([str(source), str(tmp_path / "out")])
    image = json.loads((tmp_path / "out" / "val.json").read_text())["images"][0]
    assert (image["width"], image["height"]) == (10, 20)


def test_one_folder_of_voc_without_lists(tmp_path, capsys):
    voc(tmp_path / "data")
    for path in (tmp_path / "data" / "ImageSets" / "Main").iterdir():
        path.unlink()
    assert main([str(tmp_path / "data"), str(tmp_path / "out")]) == 0
    assert len(json.loads((tmp_path / "out" / "train.json").read_text())["images"]) == 5
    assert not (tmp_path / "out" / "val.json").exists()
    assert "there is no validation set: --val-fraction 0.2" in capsys.readouterr().out


def without_labels(root) -> Path:
    path = yolo(root)
    (root / "labels").rename(root / "elsewhere")
    return path


def with_a_bad_line(root) -> Path:
    path = yolo(root)
    (root / "labels" / "train" / "a.txt").write_text("dog 0.5\n")
    return path


def text(root) -> Path:
    root.mkdir()
    (root / "data.yaml").write_text("hello")
    return root / "data.yaml"


WRONG = {
    "nothing there": (lambda root: root / "none", "none does not exist"),
    "empty folder": (lambda root: root.mkdir() or root, "there are no pictures in .*it is empty"),
    "no names": (text, "is not a data.yaml of YOLO"),
    "list that does not exist": (lambda root: yolo(root, train="train.txt"), "train: 'train.txt' does not exist"),
    "missing folder": (
        lambda root: yolo(root, val="images/nope"),
        "val: 'images/nope' does not exist .*--val-fraction",
    ),
    "missing labels": (without_labels, "no picture has a label file; .*labels/train/a.txt"),
    "bad line": (with_a_bad_line, r"a\.txt, line 1: is not a row of numbers.*--skip-damaged"),
    "class beyond the names": (
        lambda root: yolo(root, names=["cat"]),
        r"a\.txt, line 1: class 1 is not among the names",
    ),
}


@pytest.mark.parametrize(("layout", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_converted(tmp_path, layout, message, capsys):
    assert main([str(layout(tmp_path / "data")), str(tmp_path / "out")]) == 2
    assert re.search(f"^error: .*{message}", capsys.readouterr().err, re.MULTILINE)
    assert not (tmp_path / "out").exists()


def test_nothing_is_written_over(tmp_path, capsys):
    source = yolo(tmp_path / "data")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "val.json").write_text("precious")
    assert main([str(source), str(tmp_path / "out")]) == 2
    assert "val.json exists" in capsys.readouterr().err
    assert (tmp_path / "out" / "val.json").read_text() == "precious"
    assert not (tmp_path / "out" / "train.json").exists()


def test_an_earlier_conversion_is_replaced_on_demand_and_the_source_never(tmp_path, capsys):
    source = coco(tmp_path / "data")
    assert main([str(source), str(tmp_path / "out")]) == 0
    assert main([str(source), str(tmp_path / "out"), "--overwrite"]) == 0
    (source / "train" / "_annotations.coco.json").rename(source / "train.json")
    (source / "val" / "_annotations.coco.json").rename(source / "val.json")
    before = (source / "train.json").read_bytes()
    assert main([str(source), str(source), "--overwrite"]) == 2
    assert "is a file of the dataset and is never replaced" in capsys.readouterr().err
    assert (source / "train.json").read_bytes() == before


def test_a_validation_set_is_split_off_and_is_the_same_each_time(tmp_path, capsys):
    source = voc(tmp_path / "data")
    (source / "ImageSets" / "Main" / "val.txt").unlink()
    lines = "".join(f"{path.stem}\n" for path in sorted((source / "Annotations").iterdir()))
    (source / "ImageSets" / "Main" / "train.txt").write_text(lines)
    assert main([str(source), str(tmp_path / "a"), "--val-fraction", "0.4"]) == 0
    assert main([str(source), str(tmp_path / "b"), "--val-fraction", "0.4"]) == 0
    train, val = (json.loads((tmp_path / "a" / f"{name}.json").read_text()) for name in ("train", "val"))
    names = [{x["file_name"] for x in content["images"]} for content in (train, val)]
    assert names[0] | names[1] == {"a.jpg", "b.PNG", "c.png", "d.png", "e.jpg"} and not names[0] & names[1]
    assert (tmp_path / "a" / "val.json").read_bytes() == (tmp_path / "b" / "val.json").read_bytes()
    assert main([str(voc(tmp_path / "whole")), str(tmp_path / "c"), "--val-fraction", "0.4"]) == 2
    assert "has a validation set" in capsys.readouterr().err


def test_damaged_files_are_left_out_on_demand_and_named(tmp_path, capsys):
    source = voc_folders(tmp_path / "data")
    (source / "train" / "a.xml").write_text("<annotation><object><name>")
    assert main([str(source), str(tmp_path / "out")]) == 2
    assert "a.xml: is not XML" in capsys.readouterr().err
    assert main([str(source), str(tmp_path / "out"), "--skip-damaged"]) == 1
    assert "leaves out train/a.jpg" in capsys.readouterr().out
    content = json.loads((tmp_path / "out" / "train.json").read_text())
    assert [x["file_name"] for x in content["images"]] == ["b.PNG", "c.png"]
    assert "leaves out train/a.jpg" in (tmp_path / "out" / "conversion.txt").read_text()
