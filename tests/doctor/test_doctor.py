"""The dataset doctor finds every kind of planted fault, and names where it is."""

import json
import re
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from coco_files import annotation, as_floats, write
from dab_detr.data.content import Content, first_few
from dab_detr.doctor.boxes import check_boxes
from dab_detr.doctor.examine import examine
from dab_detr.doctor.finding import Finding
from dab_detr.doctor.formats import corner_severity, looks_normalized
from dab_detr.doctor.sizes import histograms, relative_sizes
from planted import (
    ERROR,
    FAULTS,
    FAULTS_OF_EVALUATION,
    PAIRS,
    WARNING,
    dataset,
    images_of,
    move,
    rename_image,
    spoilt,
)
from planted_files import FAULTS_ON_DISK, saved


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


@pytest.mark.parametrize(("spoil", "severity", "kind", "message"), FAULTS.values(), ids=FAULTS)
def test_fault_in_the_annotations(tmp_path, spoil, severity, kind, message):
    assert diagnose(tmp_path, dataset()) == {}
    finding = diagnose(tmp_path, spoilt(spoil))[kind]
    assert finding.severity is severity
    assert re.search(message, str(finding))


@pytest.mark.parametrize(("spoil", "kind", "message"), FAULTS_OF_EVALUATION.values(), ids=FAULTS_OF_EVALUATION)
def test_fault_that_only_evaluation_has(tmp_path, spoil, kind, message):
    for splits, severity in (([dataset(), spoilt(spoil)], ERROR), ([spoilt(spoil), dataset()], WARNING)):
        finding = diagnose(tmp_path, *splits)[kind]
        assert finding.severity is severity
        assert re.search(message, str(finding))


def test_numbers_that_pandas_writes_are_no_fault(tmp_path):
    assert diagnose(tmp_path, as_floats(dataset()), dataset()) == {}


def of_boxes(boxes, size) -> dict[str, Finding]:
    """What is said of boxes, each in an image of its own, by kind."""
    objects = [{"id": i, "image_id": i, "category_id": 1, "bbox": list(box)} for i, box in enumerate(boxes)]
    images = [{"id": i, "file_name": f"{i}.png", "width": size[0], "height": size[1]} for i in range(len(boxes))]
    return {x.kind: x for x in check_boxes(Content(images=images, annotations=objects, categories=[]))}


def test_large_boxes_are_not_clearly_corners():
    few_boxes = of_boxes([[10, 10, 95, 60], [5, 5, 50, 50]], (100, 80))
    assert {x.severity for x in few_boxes.values()} == {WARNING}
    assert of_boxes([[40, 30, 95, 70]] * 9, (100, 80))["boxes of corners"].severity is WARNING
    large = [[10, 10, 80, 60]] * 21 + [[10, 10, 97, 60]] * 3  # objects that fill their picture, some beyond it
    assert {x.severity for x in of_boxes(large, (100, 80)).values()} == {WARNING}
    assert of_boxes([[10, 10, 80, 60]] * 21 + [[40, 30, 95, 70]] * 9, (100, 80))["boxes of corners"].severity is ERROR


def test_pixels_of_tiny_images_are_not_normalized():
    assert "normalized boxes" in of_boxes([[0, 0, 1, 1]], (20, 10))
    assert of_boxes([[0, 0, 1, 1]], (4, 4)) == {}


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


@pytest.mark.parametrize(("spoil", "severity", "kind", "message"), FAULTS_ON_DISK.values(), ids=FAULTS_ON_DISK)
def test_fault_of_the_images(tmp_path, spoil, severity, kind, message):
    finding = on_disk(tmp_path, spoil)[kind]
    assert finding.severity is severity
    assert re.search(message, str(finding))


def test_pictures_turned_and_annotated_so_are_no_fault(tmp_path):
    assert on_disk(tmp_path, saved("1.png", size=(10, 20), orientation=6)) == {}


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_square_pictures_that_turn(tmp_path, orientation):
    data = dataset()
    data["images"][1]["height"] = 20
    files = write(tmp_path, "train", data)
    saved("1.png", size=(20, 20), orientation=orientation)(images_of(tmp_path, "train"))
    (findings,) = examine((str(files["annotations"]), str(files["images"]))).values()
    (finding,) = (x for x in findings if x.kind == "EXIF mirroring")
    assert finding.places == (f"image 10 (1.png) orientation {orientation}",)


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
    assert missing.advice == "they are found with / instead of \\; --fix writes that"


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
    (tmp_path / "train" / "3.png").write_bytes((tmp_path / "train" / "0.png").read_bytes())  # twice in one is no matter
    *_, both = examine(*splits).values()
    assert [(x.kind, x.severity, x.places) for x in both] == [
        ("image in both splits", WARNING, ("image 20 (2.png) and image 10 (1.png)",))
    ]
    *_, both = examine(splits[0], (splits[1][0], splits[0][1])).values()  # the very same folder
    assert len(both[0].places) == 3  # 3.png and 0.png are one picture


def test_there_are_many_kinds():
    planted = [x[2] for faults in (FAULTS, FAULTS_ON_DISK, PAIRS) for x in faults.values()]
    planted += [x[1] for x in FAULTS_OF_EVALUATION.values()]
    assert len(set(planted)) >= 40


@settings(max_examples=25, deadline=None)
@given(
    ids=st.lists(st.integers(0, 1000), min_size=1, max_size=6, unique=True),
    offset=st.integers(1, 10**6),
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
    if looks_normalized(spoilt).any() or corner_severity(spoilt):
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
    shown, _, more = first_few(values).partition(" and ")
    named = [int(value) for value in shown.split(", ")] if values else []
    assert named == values[:5]
    assert more == (f"{len(values) - 5} more" if len(values) > 5 else "")
    assert first_few(values, shown=None).count(",") == max(0, len(values) - 1)


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
    ("config", "keys"),
    [
        (tiny.LAZY, "dataset.train.annotations={} dataset.train.images={} "
         "dataset.val.annotations={} dataset.val.images={} train.device=cpu train.output_dir={}"),
        (tiny.YAML, "DATASETS.TRAIN_ANNOTATIONS {} DATASETS.TRAIN_IMAGES {} "
         "DATASETS.TEST_ANNOTATIONS {} DATASETS.TEST_IMAGES {} MODEL.DEVICE cpu OUTPUT_DIR {}"),
    ],
    ids=["lazy", "yacs"],
)  # fmt: skip
def test_a_wrong_dataset_stops_training_within_seconds(large, config, keys):
    paths = ["train.json", "train", "val.json", "val", "output"]
    opts = keys.format(*(large / path for path in paths)).split()
    start = time.perf_counter()
    with pytest.raises(ValueError, match=r"1 boxes lie outside their image: annotation 4998 \(1249\.png\)"):
        tiny.configured("--config-file", config, *opts)
    assert time.perf_counter() - start < 10
