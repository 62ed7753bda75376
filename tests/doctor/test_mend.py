"""A mended copy of a dataset's annotations has no errors, and what was right stays as it was."""

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from coco_files import content, write
from dab_detr.doctor.annotations import read_annotations
from dab_detr.doctor.examine import examine
from dab_detr.doctor.finding import Severity
from dab_detr.doctor.mend import clipped, mend
from planted import (
    FAULTS,
    FAULTS_OF_EVALUATION,
    dataset,
    every,
    images_of,
    mended,
    move,
    shares,
    spoilt,
)
from planted_files import FAULTS_ON_DISK, cut

BEYOND_MENDING = {  # nobody knows what was meant
    "all objects crowds",
    "category id beyond 64 bits",
    "category id twice",
    "category name null",
    "image id beyond 64 bits",
    "image id twice",
    "no annotations",
    "no list of annotations",
}


def errors(folder, data) -> list[str]:
    (folder / "mended.json").write_text(json.dumps(data))
    (findings,) = examine((str(folder / "mended.json"), str(folder / "train"))).values()
    return [str(x) for x in findings if x.severity is Severity.ERROR]


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_mended_or_stays(tmp_path, fault):
    spoil, severity, *_ = FAULTS[fault]
    data = spoilt(spoil)
    before = copy.deepcopy(data)
    write(tmp_path, "train", data)
    result = mended(tmp_path, data)
    assert data == before, "the source is not touched"
    assert bool(errors(tmp_path, result)) == (fault in BEYOND_MENDING)
    if severity is Severity.ERROR and fault not in BEYOND_MENDING:
        assert result != data


@pytest.mark.parametrize("fault", ["image missing", "image cut short", "image of another size", "EXIF rotation"])
def test_images_that_do_not_fit(tmp_path, fault):
    data = dataset()
    write(tmp_path, "train", data)
    FAULTS_ON_DISK[fault][0](images_of(tmp_path, "train"))
    result, done = mend(data, str(tmp_path / "train"))
    assert errors(tmp_path, result) == []
    assert sum(done.values()) > 0


def test_nothing_is_done_to_a_good_dataset(tmp_path):
    data = dataset()
    data["annotations"][0].update(bbox=[0.5, 0.1, 8.25, 4], area=20.0, segmentation=[[1, 1, 2, 2, 3, 1]])
    write(tmp_path, "train", data)
    result, done = mend(data, str(images_of(tmp_path, "train")))
    assert result == data and sum(done.values()) == 0


@pytest.mark.parametrize("fault", FAULTS_OF_EVALUATION)
def test_every_fault_of_evaluation_is_mended(tmp_path, fault):
    data = spoilt(FAULTS_OF_EVALUATION[fault][0])
    write(tmp_path, "train", data)
    result = mended(tmp_path, data)
    (tmp_path / "val.json").write_text(json.dumps(result))
    assert read_annotations(tmp_path / "val.json").evaluation_findings == ()
    assert len(result["annotations"]) == 6


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"iscrowd": "0"}, {"iscrowd": 0}), ({"iscrowd": "1"}, {"iscrowd": 1}), ({"iscrowd": None}, {"iscrowd": 0}),
        ({"iscrowd": 2}, {"iscrowd": 1}), ({"iscrowd": 0, "ignore": "0"}, {"iscrowd": 0}),
        ({"iscrowd": 0, "ignore": "1"}, {"iscrowd": 1}), ({"iscrowd": 0, "ignore": 1}, {"iscrowd": 1}),
        ({"iscrowd": "no"}, {"iscrowd": "no"}), ({"iscrowd": 0, "ignore": "no"}, {"iscrowd": 0, "ignore": "no"}),
    ],
)  # fmt: skip
def test_flags(tmp_path, values, expected):
    data = dataset()
    data["annotations"][1].update(values)
    write(tmp_path, "train", data)
    found = mended(tmp_path, data)["annotations"][1]
    assert {key: found[key] for key in ("iscrowd", "ignore") if key in found} == expected


def test_masks(tmp_path):
    data = dataset()
    polygon, rle = [1.0, 1.0, 5.0, 1.0, 5.0, 5.0], {"counts": [0, 200], "size": [10, 20]}
    for x, mask in zip(data["annotations"], [polygon, [polygon], rle, "abc", [[1, 1]], []], strict=True):
        x["segmentation"] = mask
    write(tmp_path, "train", data)
    found = [x.get("segmentation", "none") for x in mended(tmp_path, data)["annotations"]]
    assert found == [[polygon], [polygon], rle, "none", "none", []]


def test_boxes_of_text_are_written_as_numbers(tmp_path):
    """They are read before anything else, so their format is found too."""
    data = dataset()
    before = [list(x["bbox"]) for x in data["annotations"]]
    data["annotations"][0]["bbox"] = [str(value) for value in before[0]]
    data["annotations"][1]["bbox"][2] = f"{before[1][2]}.0"
    data["annotations"][2]["bbox"] = ["a", "0", "1", "1"]
    write(tmp_path, "train", data)
    found = mended(tmp_path, data)["annotations"]
    assert [x["bbox"] for x in found] == [before[0], before[1], *before[3:]]


def as_centres(x):
    left, top, width, height = x["bbox"]
    return [left + width / 2, top + height / 2, width, height]


def as_corners(x):
    left, top, width, height = x["bbox"]
    return [left, top, left + width, top + height]


@pytest.mark.parametrize("change", [lambda x: x["bbox"], as_centres, as_corners], ids=["sizes", "centres", "corners"])
@pytest.mark.parametrize("indices", [(), (0, 1, 2, 5)], ids=["all", "some"])
def test_boxes_in_shares(tmp_path, change, indices):
    good = dataset()
    good["annotations"][0]["bbox"], good["annotations"][5]["bbox"] = [1, 1, 8, 4], [11, 5, 8, 4]
    good["annotations"][1]["bbox"], good["annotations"][2]["bbox"] = [0, 0, 18, 8], [12, 6, 4, 3]
    for x in good["annotations"]:
        x["area"] = x["bbox"][2] * x["bbox"][3]
    data = copy.deepcopy(good)
    shares(*indices)(data)
    chosen = [data["annotations"][i] for i in indices or range(6)]
    every(bbox=change)({"annotations": chosen})
    write(tmp_path, "train", data)
    result = mended(tmp_path, data)
    assert np.allclose([x["bbox"] for x in result["annotations"]], [x["bbox"] for x in good["annotations"]])


def test_unclear_boxes_in_shares_stay(tmp_path):
    data = dataset()
    for x in data["annotations"]:
        x["bbox"] = [0.5, 0.5, 0.2, 0.2]  # by a corner or by a centre
    write(tmp_path, "train", data)
    result = mended(tmp_path, data)
    assert [x["bbox"] for x in result["annotations"][:1]] == [[0.5, 0.5, 0.2, 0.2]]
    assert ["not clear what they are" in x for x in errors(tmp_path, result)] == [True]


def test_a_box_of_a_pixel_among_many_stays(tmp_path):
    data = content(num_images=6)
    data["annotations"][0].update(bbox=[0, 0, 1, 1], area=1)
    write(tmp_path, "train", data)
    assert mended(tmp_path, data)["annotations"][0]["bbox"] == [0, 0, 1, 1]


def test_boxes_that_may_be_sizes_stay(tmp_path):
    data = dataset()
    boxes = [[2, 1, 19, 8], *([[1, 1, 9, 5]] * 5)]
    for i, (x, box) in enumerate(zip(data["annotations"], boxes, strict=True)):
        x.update(bbox=box, area=box[2] * box[3], category_id=1 + i % 3)
    write(tmp_path, "train", data)
    result = mended(tmp_path, data)
    assert [x["bbox"] for x in result["annotations"]][:2] == [[2, 1, 18, 8], [1, 1, 9, 5]]


def test_file_names_of_windows(tmp_path):
    data = dataset()
    (tmp_path / "train" / "day").mkdir(parents=True)
    for image in data["images"]:
        image["file_name"] = f"day/{image['file_name']}"
    write(tmp_path, "train", data)
    spoilt_names = copy.deepcopy(data)
    for image in spoilt_names["images"]:
        image["file_name"] = image["file_name"].replace("/", "\\")
    result, done = mend(spoilt_names, str(tmp_path / "train"))
    assert result == data and done["file names written with / instead of \\"] == 4


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (every(image_id=lambda x: "none"), "6 annotations .*: 6 annotations left out without an image or a category"),
        (every(bbox=lambda x: [30, 30, 5, 5]), "6 annotations .*: 6 annotations left out without a box inside the"),
        (lambda x: [y.update(file_name="none.png") for y in x["images"]], "4 images .*: 4 images left out that cannot"),
    ],
)
def test_something_is_left(tmp_path, fault, message):
    write(tmp_path, "train", dataset())
    with pytest.raises(ValueError, match=f"none of the {message}"):
        mended(tmp_path, spoilt(fault))


def test_what_is_made_of_boxes(tmp_path):
    good = spoilt(move(5, [11, 5, 8, 4]))
    boxes = [x["bbox"] for x in good["annotations"]]
    for fault in ("boxes in shares", "category ids from 0"):
        data = copy.deepcopy(good)
        FAULTS[fault][0](data)
        write(tmp_path, "train", good)
        result = mended(tmp_path, data)
        assert np.allclose([x["bbox"] for x in result["annotations"]], boxes)
        assert [x["category_id"] for x in result["annotations"]] == [x["category_id"] for x in good["annotations"]]
    write(tmp_path, "train", spoilt(FAULTS["boxes of corners"][0]))
    result = mended(tmp_path, spoilt(FAULTS["boxes of corners"][0]))
    assert [x["bbox"] for x in result["annotations"]] == [[6 + k, 3, 10, 6] for i in range(6) for k in range(i)]
    result = mended(tmp_path, spoilt(FAULTS["box inverted"][0]))
    assert result["annotations"][4]["bbox"] == [4, 6, 8, 4]
    result = mended(tmp_path, spoilt(FAULTS["box over the border"][0]))
    assert result["annotations"][4]["bbox"] == [15, 2, 5, 4] and result["annotations"][4]["area"] == 20


def test_only_what_is_spoilt_is_left_out(tmp_path):
    data = spoilt(FAULTS["box outside"][0])
    write(tmp_path, "train", data)
    cut(images_of(tmp_path, "train"))  # 1.png, with one object
    result, done = mend(data, str(tmp_path / "train"))
    assert [x["id"] for x in result["annotations"]] == [101, 102, 103, 105]
    assert [x["id"] for x in result["images"]] == [0, 20, 30]
    assert {what: number for what, number in done.items() if number} == {
        "images left out that cannot be read": 1,
        "annotations left out without an image or a category": 1,
        "annotations left out without a box inside the image": 1,
    }


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_turn_with_their_picture(tmp_path, orientation):
    """A white rectangle is where its box is, before and after EXIF data turn the picture."""
    pixels = np.zeros((10, 20, 3), np.uint8)
    pixels[2:5, 3:11] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = content(num_images=2)
    data["annotations"][0].update(bbox=[3, 2, 8, 3], area=24)
    write(tmp_path, "train", data)
    Image.fromarray(pixels).save(images_of(tmp_path, "train") / "1.png", exif=exif)
    result, _ = mend(data, str(tmp_path / "train"))
    assert (result["images"][1]["width"], result["images"][1]["height"]) == (10, 20)
    with Image.open(tmp_path / "train" / "1.png") as image:
        seen = np.asarray(ImageOps.exif_transpose(image))[..., 0] > 0
    x, y, width, height = (round(value) for value in result["annotations"][0]["bbox"])
    expected = np.zeros((20, 10), bool)
    expected[y : y + height, x : x + width] = True
    assert np.array_equal(seen, expected)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.tuples(*[st.floats(-30, 50, width=32)] * 4), min_size=6, max_size=6))
def test_any_boxes_are_mended(tmp_path_factory, boxes):
    folder = tmp_path_factory.mktemp("boxes")
    data = dataset()
    for x, box in zip(data["annotations"], boxes, strict=True):
        x.update(bbox=list(box), area=box[2] * box[3])
    write(folder, "train", data)
    if not any(clipped(list(box), data["images"][1]) for box in boxes):
        with pytest.raises(ValueError, match="none of the 6 annotations would be left"):
            mended(folder, data)
        return
    result = mended(folder, data)
    # a box of a pixel that is left alone in a corner could be in shares of the image as well
    assert not [x for x in errors(folder, result) if "look normalized" not in x]


@pytest.mark.parametrize("crowds", [(1, 0), (0, 1), (0, 0), (1, 1), (1, 0, 1), (1, 1, 0)])
def test_of_equal_boxes_the_first_object_stays(tmp_path, crowds):
    data = content(num_images=3)
    first = data["annotations"][0]
    data["annotations"] = [{**first, "id": 10 + i, "iscrowd": crowd} for i, crowd in enumerate(crowds)]
    write(tmp_path, "train", data)
    result, done = mend(data, str(tmp_path / "train"))
    assert [x["id"] for x in result["annotations"]] == [10 + (crowds.index(0) if 0 in crowds else 0)]
    what = "annotations left out that repeat another (kept: the first that is not a crowd region)"
    assert done[what] == len(crowds) - 1


def test_images_too_thin_are_left_out(tmp_path):
    data = content()
    data["images"][1].update(width=3000, height=1)
    write(tmp_path, "train", data)
    Image.new("RGB", (3000, 1)).save(tmp_path / "train" / "1.png")
    result, done = mend(data, str(tmp_path / "train"))
    assert [x["id"] for x in result["images"]] == [0, 20, 30]
    assert done["images left out that are too thin to be resized"] == 1


@pytest.mark.parametrize("ids", [[0, 1, 2, 3, 4, 5], [-3, 1, 2**60, "7", "a", None]])
def test_ids_that_tools_misread_are_numbered_again(tmp_path, ids):
    data = content()
    for x, i in zip(data["annotations"], ids, strict=True):
        x["id"] = i
    write(tmp_path, "train", data)
    found = [x["id"] for x in mended(tmp_path, data)["annotations"]]
    assert len(set(found)) == 6 and all(type(i) is int and 1 <= i <= 2**53 for i in found)
