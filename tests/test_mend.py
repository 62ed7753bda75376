"""A mended copy of a dataset's annotations has no errors, and what was right stays as it was."""

import copy
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from coco_files import content, write
from dab_detr.data.doctor.examine import examine
from dab_detr.data.doctor.finding import Severity
from dab_detr.data.doctor.mend import mend
from planted import FAULTS, FAULTS_ON_DISK, cut, dataset, images_of, spoilt

BEYOND_MENDING = {"category id twice", "image id twice", "no annotations"}  # nobody knows what was meant


def mended(folder, data) -> dict:
    result, _ = mend(data, str(images_of(folder, "train")))
    return result


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


def test_what_is_made_of_boxes(tmp_path):
    good = dataset()
    boxes = [x["bbox"] for x in good["annotations"]]
    for fault in ("boxes in shares", "category ids from 0"):
        write(tmp_path, "train", good)
        result = mended(tmp_path, spoilt(FAULTS[fault][0]))
        assert np.allclose([x["bbox"] for x in result["annotations"]], boxes)
        assert [x["category_id"] for x in result["annotations"]] == [x["category_id"] for x in good["annotations"]]
    result = mended(tmp_path, spoilt(FAULTS["boxes of corners"][0]))
    assert [x["bbox"] for x in result["annotations"]] == [[6 + k, 3, 10, 6] for k in (0, 0, 1, 0, 1, 2)]
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
    result = mended(folder, data)
    # a box of a pixel that is left alone in a corner could be in shares of the image as well
    assert not [x for x in errors(folder, result) if "no annotations at all" not in x and "in shares" not in x]
