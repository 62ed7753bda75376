"""The dataset doctor finds every kind of planted fault, and names where it is."""

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import tiny
from coco_files import annotation, content, without, write
from dab_detr.data.doctor.boxes import check_boxes, corners, normalised
from dab_detr.data.doctor.content import Content
from dab_detr.data.doctor.examine import examine
from dab_detr.data.doctor.finding import Finding, Severity, few
from dab_detr.data.doctor.sizes import histograms, relative_sizes
from dab_detr.engine import lazy, trainer

ERROR, WARNING, NOTE = Severity


def dataset(ids=(1, 2, 3)) -> dict:
    """`content` without a twin among the boxes, so that it has nothing to be found but an image without objects."""
    data = content(ids)
    return {**data, "info": {}}


def spoilt(spoil) -> dict:
    data = dataset()
    spoil(data)
    return data


def images_of(folder: Path, split: str) -> Path:
    """Pictures that differ, in the place of those that `write` has made."""
    for number, path in enumerate(sorted((folder / split).glob("*.png"))):
        Image.new("RGB", (20, 10), (number, len(split), 7)).save(path)
    return folder / split


def diagnose(folder: Path, train, val=None, **kwargs) -> dict[str, Finding]:
    """Findings of both splits by kind, but for the image without objects that all have."""
    splits = []
    for split, data in (("train", train), ("val", val)):
        if data is not None:
            files = write(folder, split, data)
            splits.append((str(files["annotations"]), str(images_of(folder, split))))
    found = [x for findings in examine(*splits, **kwargs).values() for x in findings]
    kinds = [x.kind for x in found if x.kind != "image without objects"]
    return {x.kind: x for x in found if x.kind in kinds}


def every(**changes):
    """Changes all annotations by functions of them."""
    return lambda data: [x.update({k: f(x) for k, f in changes.items()}) for x in data["annotations"]]


def move(index, box):
    return lambda data: annotation(data, index, bbox=box, area=box[2] * box[3])


def normalise(x):
    left, top, width, height = x["bbox"]
    return [left / 20, top / 10, width / 20, height / 10]


def rename_image(index, name):
    return lambda data: data["images"][index].update(file_name=name)


# what is done to the annotations: (how it is done, severity, kind, what the message has to have)
FAULTS = {
    "category id unknown": (
        lambda x: annotation(x, 2, category_id=9), ERROR, "unknown category",
        r"1 annotations have a category_id that .* \(1, 2, 3\): 9 in annotation 102 \(2\.png\)$",
    ),
    "category id as text": (
        lambda x: annotation(x, 0, category_id="1"), ERROR, "unknown category", r"'1' in annotation 100 \(1\.png\)",
    ),
    "category id missing": (
        lambda x: without(x, "category_id", 0), ERROR, "unknown category", r"None in annotation 100 \(1\.png\)",
    ),
    "category id as list": (
        lambda x: annotation(x, 0, category_id=[1]), ERROR, "unknown category", r"\[1\] in annotation 100",
    ),
    "category ids from 0": (
        every(category_id=lambda x: x["category_id"] - 1), ERROR, "unknown category",
        r"0 in annotation 100 .*shift by one: every category_id \+1 would be a category",
    ),
    "category ids beyond": (
        every(category_id=lambda x: x["category_id"] + 1), ERROR, "unknown category", "every category_id -1 would",
    ),
    "category id twice": (
        lambda x: x["categories"].append({"id": 2, "name": "again"}), ERROR, "category id twice", "used twice: 2$",
    ),
    "category name twice": (
        lambda x: x["categories"][2].update(name="class 0"), WARNING, "category name twice",
        "'class 0' with the ids 1, 3",
    ),
    "category for background": (
        lambda x: x["categories"][1].update(name="Background"), WARNING, "background category", "2 'Background'",
    ),
    "category without objects": (
        lambda x: x["categories"].append({"id": 7, "name": "rare"}), WARNING, "unused category", "7 'rare'",
    ),
    "annotation without image": (
        lambda x: annotation(x, 1, image_id=77), ERROR, "unknown image",
        "1 annotations are of images that do not exist: image_id 77 in annotation 101",
    ),
    "image id twice": (
        lambda x: x["images"][0].update(id=20), ERROR, "image id twice", r"used twice: 20 \(0\.png and 2\.png\)",
    ),
    "image size of zero": (
        lambda x: x["images"][2].update(height=0), ERROR, "no image size", r"image 20 \(2\.png\) 20 x 0",
    ),
    "image size as text": (
        lambda x: x["images"][2].update(width="20"), ERROR, "no image size", r"image 20 \(2\.png\) '20' x 10",
    ),
    "image size differs": (
        lambda x: x["images"][2].update(width=25), ERROR, "wrong image size",
        r"image 20 \(2\.png\) is 20x10, annotated as 25x10$",
    ),
    "image size exchanged": (
        lambda x: x["images"][0].update(width=10, height=20), ERROR, "wrong image size",
        r"image 0 \(0\.png\) is 20x10, annotated as 10x20, width and height exchanged",
    ),
    "file listed twice": (
        lambda x: rename_image(2, "3.png")(x), WARNING, "file twice", r"3\.png with the ids 20, 30",
    ),
    "annotation id twice": (
        lambda x: annotation(x, 1, id=100), ERROR, "annotation id twice",
        r"annotation 100 \(1\.png\), annotation 100 \(2\.png\)",
    ),
    "annotation id missing": (
        lambda x: without(x, "id", 1), ERROR, "no annotation id", r"the first is annotations\[1\]",
    ),
    "no annotations": (lambda x: x["annotations"].clear(), ERROR, "no annotations", "no annotations at all"),
    "no list of annotations": (lambda x: x.pop("annotations"), WARNING, "no annotations", "only images"),
    "annotation twice": (
        lambda x: x["annotations"].append({**x["annotations"][3], "id": 7}), WARNING, "annotation twice",
        r"annotation 7 \(3\.png\)",
    ),
    "box of two categories": (
        lambda x: x["annotations"].append({**x["annotations"][3], "id": 7, "category_id": 2}), WARNING,
        "box of two categories", r"annotation 7 \(3\.png\)",
    ),
    "bbox missing": (lambda x: without(x, "bbox", 0), ERROR, "no box", r"1 annotations .*: annotation 100 \(1\.png\)"),
    "bbox of three": (lambda x: annotation(x, 0, bbox=[1, 2, 3]), ERROR, "no box", r"annotation 100 \(1\.png\)"),
    "bbox of text": (lambda x: annotation(x, 0, bbox=["1"] * 4), ERROR, "no box", r"annotation 100 \(1\.png\)"),
    "bbox NaN": (
        lambda x: annotation(x, 0, bbox=[1, 1, float("nan"), 4]), ERROR, "box not finite", r"100 \(1\.png\)",
    ),
    "bbox infinite": (
        lambda x: annotation(x, 0, bbox=[1, 1, float("inf"), 4]), ERROR, "box not finite", r"100 \(1\.png\)",
    ),
    "box inverted": (
        move(4, [12, 6, -8, 4]), ERROR, "inverted box",
        r"annotation 104 \(3\.png\) \[12, 6, -8, 4\] in 20x10$",
    ),
    "box empty": (move(4, [2, 2, 8, 0]), WARNING, "empty box", r"annotation 104 \(3\.png\) \[2, 2, 8, 0\]"),
    "box of half a pixel": (move(4, [2, 2, 8, 0.5]), WARNING, "tiny box", r"annotation 104 \(3\.png\)"),
    "box outside": (move(4, [20, 2, 8, 4]), ERROR, "box outside the image", r"104 \(3\.png\) \[20, 2, 8, 4\] in 20x10"),
    "box left of the image": (move(4, [-9, 2, 8, 4]), ERROR, "box outside the image", r"annotation 104 \(3\.png\)"),
    "box over the border": (move(4, [15, 2, 8, 4]), WARNING, "box over the border", r"annotation 104 \(3\.png\)"),
    "boxes in shares": (
        every(bbox=normalise), ERROR, "normalised boxes", r"must be in pixels: annotation 100 \(1\.png\)",
    ),
    "boxes of corners": (
        every(bbox=lambda x: [x["bbox"][0] + 6, 3, x["bbox"][0] + 16, 9]), ERROR, "boxes of corners",
        r"must be \[x, y, width, height\].*: annotation 100 \(1\.png\) \[6, 3, 16, 9\]",
    ),
    "area too large": (
        lambda x: annotation(x, 1, area=100), WARNING, "wrong area", r"annotation 101 \(2\.png\) 100$",
    ),
    "area in shares": (lambda x: annotation(x, 1, area=0.1), WARNING, "wrong area", r"101 \(2\.png\) 0\.1$"),
    "area as text": (lambda x: annotation(x, 1, area="32"), WARNING, "wrong area", r"101 \(2\.png\) '32'$"),
    "area missing": (lambda x: without(x, "area", 1), ERROR, "no area", r"annotation 101 \(2\.png\)"),
    "iscrowd missing": (lambda x: without(x, "iscrowd", 1), ERROR, "no iscrowd", r"annotation 101 \(2\.png\)"),
    "iscrowd of 2": (lambda x: annotation(x, 1, iscrowd=2), ERROR, "iscrowd not 0 or 1", r"101 \(2\.png\)"),
    "crowd": (lambda x: annotation(x, 1, iscrowd=1), NOTE, "crowd", r"annotation 101 \(2\.png\)"),
    "ignore": (lambda x: annotation(x, 1, ignore=1), ERROR, "ignore", r"annotation 101 \(2\.png\)"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "severity", "kind", "message"), FAULTS.values(), ids=FAULTS)
def test_fault_in_the_annotations(tmp_path, spoil, severity, kind, message):
    assert diagnose(tmp_path, dataset()) == {}
    finding = diagnose(tmp_path, spoilt(spoil))[kind]
    assert finding.severity is severity
    assert re.search(message, str(finding))


def test_absolute_file_name(tmp_path):
    data = dataset()
    data["images"][1]["file_name"] = str(tmp_path / "train" / "1.png")
    assert re.search(r"image 10 \(/.*1\.png\)", str(diagnose(tmp_path, data)["absolute file name"]))


def on_disk(folder: Path, change, **kwargs) -> dict[str, Finding]:
    """What is found when `change` has been done to the folder of the images, by kind."""
    files = write(folder, "train", dataset())
    change(images_of(folder, "train"))
    (findings,) = examine((str(files["annotations"]), str(files["images"])), **kwargs).values()
    return {x.kind: x for x in findings if x.kind != "image without objects"}


def saved(name, mode="RGB", size=(20, 10), orientation=1, **kwargs):
    """A picture in the place of another."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    return lambda folder: Image.new(mode, size, **kwargs).save(folder / name, exif=exif)


def cut(folder):
    noise = np.random.default_rng(0).integers(0, 255, (10, 20, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "1.png")
    whole = (folder / "1.png").read_bytes()
    (folder / "1.png").write_bytes(whole[: len(whole) // 2])


FAULTS_ON_DISK = {
    "image missing": (lambda x: (x / "1.png").unlink(), ERROR, "missing image", r"image 10 \(1\.png\)$"),
    "other suffix": (
        lambda x: (x / "1.png").rename(x / "1.JPG"), ERROR, "missing image",
        r"image 10 \(1\.png\); the folder has 1\.JPG",
    ),
    "image empty": (lambda x: (x / "1.png").write_bytes(b""), ERROR, "corrupt image", r"image 10 \(1\.png\)"),
    "image cut short": (cut, ERROR, "corrupt image", r"image 10 \(1\.png\)"),
    "no image at all": (lambda x: (x / "1.png").write_text("hello"), ERROR, "corrupt image", r"image 10 \(1\.png\)"),
    "image of another size": (
        saved("1.png", size=(40, 20)), ERROR, "wrong image size", r"image 10 \(1\.png\) is 40x20, annotated as 20x10",
    ),
    "EXIF rotation": (
        saved("1.png", orientation=6), ERROR, "EXIF rotation", r"image 10 \(1\.png\) is 10x20, annotated as 20x10",
    ),
    "EXIF mirroring": (saved("1.png", orientation=3), WARNING, "EXIF mirroring", r"image 10 \(1\.png\) orientation 3"),
    "16 bits": (saved("1.png", mode="I;16"), WARNING, "deep image", r"image 10 \(1\.png\) I;16"),
    "copy": (
        lambda x: (x / "1.png").write_bytes((x / "2.png").read_bytes()), WARNING, "picture twice",
        r"image 10 \(1\.png\) and image 20 \(2\.png\)",
    ),
    "image without entry": (saved("more.png", color="red"), NOTE, "image without entry", "more.png"),
}  # fmt: skip


@pytest.mark.parametrize(("spoil", "severity", "kind", "message"), FAULTS_ON_DISK.values(), ids=FAULTS_ON_DISK)
def test_fault_of_the_images(tmp_path, spoil, severity, kind, message):
    finding = on_disk(tmp_path, spoil)[kind]
    assert finding.severity is severity
    assert re.search(message, str(finding))


def test_pictures_turned_and_annotated_so_are_no_fault(tmp_path):
    assert on_disk(tmp_path, saved("1.png", size=(10, 20), orientation=6)) == {}


def test_no_image_folder(tmp_path):
    files = write(tmp_path, "train", dataset())
    (findings,) = examine((str(files["annotations"]), str(tmp_path / "none"))).values()
    assert [x.kind for x in findings if x.severity is ERROR] == ["no image folder"]


def test_folders_below_and_file_names_of_windows(tmp_path):
    data = dataset()
    (tmp_path / "train" / "day").mkdir(parents=True)
    rename_image(1, "day/1.png")(data)
    assert diagnose(tmp_path, data) == {}
    data["images"][1]["file_name"] = "day\\1.png"
    (tmp_path / "train.json").write_text(json.dumps(data))
    (findings,) = examine((str(tmp_path / "train.json"), str(tmp_path / "train"))).values()
    (missing,) = (x for x in findings if x.kind == "missing image")
    assert missing.advice == "they are found with / in the place of \\"


@pytest.mark.parametrize(
    "text, message",
    [(json.dumps(dataset())[:-20], "is not JSON"), ("", "is not JSON"), ("[]", "it is a list"), ("{}", "'images'")],
)
def test_files_that_cannot_be_read(tmp_path, text, message):
    found = diagnose(tmp_path, text, dataset())
    assert found["not COCO format"].severity is ERROR and message in str(found["not COCO format"])


def test_more_objects_than_queries(tmp_path):
    found = diagnose(tmp_path, dataset(), num_queries=2)["more objects than queries"]
    assert found.severity is WARNING and found.places == ("image 30 (3.png) with 3",)
    assert diagnose(tmp_path, dataset(), num_queries=3) == {}
    crowded = spoilt(lambda x: annotation(x, 5, iscrowd=1))
    assert "more objects than queries" not in diagnose(tmp_path, crowded, num_queries=2)


PAIRS = {
    "shifted": (dataset(ids=(0, 1, 2)), ERROR, "categories shifted by one", "1, 2, 3 in the first and 0, 1, 2 in the"),
    "fewer": (dataset(ids=(1, 2)), ERROR, "categories differ", r"only \S+train\.json has 3 'class 2'"),
    "renamed": (
        spoilt(lambda x: x["categories"][1].update(name="other")), ERROR, "categories differ",
        "2 is .class 1. and .other",
    ),
    "never learned": (
        spoilt(lambda x: x["categories"][1].update(name="other")), WARNING, "category never learned", "'other'",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("val", "severity", "kind", "message"), PAIRS.values(), ids=PAIRS)
def test_fault_between_train_and_val(tmp_path, val, severity, kind, message):
    assert diagnose(tmp_path, dataset(), dataset()) == {}
    finding = diagnose(tmp_path, dataset(), val)[kind]
    assert finding.severity is severity
    assert re.search(message, str(finding))


def test_the_same_image_in_train_and_val(tmp_path):
    splits = []
    for split in ("train", "val"):
        files = write(tmp_path, split, dataset())
        splits.append((str(files["annotations"]), str(images_of(tmp_path, split))))
    (tmp_path / "val" / "1.png").write_bytes((tmp_path / "train" / "2.png").read_bytes())
    *_, both = examine(*splits).values()
    assert [(x.kind, x.severity, x.places) for x in both] == [
        ("image in both splits", WARNING, ("image 20 (2.png) and image 10 (1.png)",))
    ]
    *_, both = examine(splits[0], (splits[1][0], splits[0][1])).values()  # the very same folder
    assert len(both[0].places) == 4


def test_there_are_many_kinds():
    planted = [x[2] for faults in (FAULTS, FAULTS_ON_DISK, PAIRS) for x in faults.values()]
    assert len(set(planted)) >= 40


@settings(max_examples=25, deadline=None)
@given(
    ids=st.lists(st.integers(0, 1000), min_size=1, max_size=6, unique=True),
    offset=st.integers(0, 10**6),
    step=st.integers(1, 50),
)
def test_gaps_between_ids_are_no_fault(tmp_path_factory, ids, offset, step):
    data = dataset(ids)
    for number, image in enumerate(data["images"]):
        for x in (x for x in data["annotations"] if x["image_id"] == image["id"] and "seen" not in x):
            x.update(image_id=offset + step * number, seen=True)
        image["id"] = offset + step * number
    for number, x in enumerate(data["annotations"]):
        del x["seen"]
        x["id"] = offset + step * number
    found = diagnose(tmp_path_factory.mktemp("gaps"), data)
    assert set(found) <= {"unused category"}


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-30, 50)] * 4), min_size=1, max_size=8))
def test_what_is_said_of_any_box_is_true(boxes):
    """A box inside its image has no finding, and one that reaches out has exactly one."""
    objects = [{"id": i, "image_id": 0, "category_id": 1, "bbox": list(box)} for i, box in enumerate(boxes)]
    image = {"id": 0, "file_name": "a.png", "width": 20, "height": 10}
    spoilt = Content(images=[image], annotations=objects, categories=[{"id": 1, "name": "a"}])
    if normalised(spoilt) or corners(spoilt):
        return
    found = {x.kind: [int(place.split()[1]) for place in x.places] for x in check_boxes(spoilt)}
    for i, (x, y, w, h) in enumerate(boxes):
        kinds = {kind for kind, ids in found.items() if i in ids} - {"tiny box"}
        inside = x >= 0 and y >= 0 and x + w <= 20 and y + h <= 10 and w > 0 and h > 0
        assert len(kinds) <= 1 and not (inside and kinds)
        assert ("inverted box" in kinds) == (w < 0 or h < 0)
        if w > 0 and h > 0:
            assert ("box outside the image" in kinds) == (x + w <= 0 or y + h <= 0 or x >= 20 or y >= 10)
            assert inside or kinds or max(-x, -y, x + w - 20, y + h - 10) <= 1


def test_histograms():
    data = dataset()
    raw = Content(images=data["images"], annotations=data["annotations"], categories=data["categories"])
    sizes = relative_sizes(raw)
    assert sizes.shape == (6, 2) and np.allclose(sizes, 0.4)
    lines = histograms(sizes, np.array([[0.4, 0.1], [0.9, 0.9]]))
    assert [line.split()[-2:] for line in lines if "1/4 to 1/2" in line] == [["100.0%", "0.0%"], ["0.0%", "0.0%"]]
    assert [line.split()[-2:] for line in lines if "1/8 to 1/4" in line] == [["0.0%", "50.0%"]]
    assert [line.split()[-2:] for line in lines if " and more" in line] == [["0.0%", "50.0%"], ["0.0%", "50.0%"]]


@given(st.lists(st.integers(), max_size=12))
def test_few_tells_how_many_more(values):
    shown, _, more = few(values).partition(" and ")
    named = [int(value) for value in shown.split(", ")] if values else []
    assert named == values[:5]
    assert more == (f"{len(values) - 5} more" if len(values) > 5 else "")
    assert few(values, shown=None).count(",") == max(0, len(values) - 1)


@pytest.fixture(scope="module")
def large(tmp_path_factory) -> Path:
    """1,250 pictures with four objects each, the last box but one outside its picture."""
    folder = tmp_path_factory.mktemp("large")
    data = dataset()
    data["images"] = [{"id": i, "file_name": f"{i}.png", "width": 20, "height": 10} for i in range(1250)]
    data["annotations"] = [
        {"id": i, "image_id": i // 4, "category_id": 1 + i % 3, "bbox": [i % 4, 1, 8, 4], "area": 32, "iscrowd": 0}
        for i in range(5000)
    ]
    move(4998, [30, 1, 8, 4])(data)
    write(folder, "train", data)
    write(folder, "val", dataset())
    return folder


@pytest.mark.parametrize(
    ("way", "config", "keys"),
    [
        (lazy, tiny.LAZY, "dataset.train.annotations={} dataset.train.images={} "
         "dataset.val.annotations={} dataset.val.images={} train.device=cpu train.output_dir={}"),
        (trainer, tiny.YAML, "DATASETS.TRAIN_ANNOTATIONS {} DATASETS.TRAIN_IMAGES {} "
         "DATASETS.TEST_ANNOTATIONS {} DATASETS.TEST_IMAGES {} MODEL.DEVICE cpu OUTPUT_DIR {}"),
    ],
    ids=["lazy", "yacs"],
)  # fmt: skip
def test_a_wrong_dataset_stops_training_within_seconds(large, way, config, keys):
    paths = ["train.json", "train", "val.json", "val", "output"]
    opts = keys.format(*(large / path for path in paths)).split()
    start = time.perf_counter()
    with pytest.raises(ValueError, match=r"1 boxes lie outside their image: annotation 4998 \(1249\.png\)"):
        way.configure(tiny.arguments("--config-file", config, *opts))
    assert time.perf_counter() - start < 10
