"""A model that finds the same in every picture, and one that looks."""

import json
import logging

import pytest
from detectron2.data import Metadata
from PIL import Image

from coco_results import LABELS, detection, record
from dab_detr.report.ranking import instances, judge
from dab_detr.report.results import pictures_sections
from dab_detr.report.sameness import same_everywhere
from dab_detr.visualization.preview import Style


def judged(
    boxes: list[list[int] | None], objects: list[list[int] | None], *, category: int = 7, crowd: int = 0
) -> list:
    """Pictures of 50 x 50 with an object of class 0, and a detection, in each where it is not None."""
    pictures = []
    for i, (box, truth) in enumerate(zip(boxes, objects, strict=True)):
        found = [] if box is None else [detection(i, box, category, 0.2), detection(i, [0, 0, 3, 3], 9, 0.1)]
        x = record(i, *([] if truth is None else [(truth, 0, crowd)]))
        pictures.append(judge(x, instances(found, x, LABELS), 0.3))
    return pictures


MOVING = [[2 * i, i, 10, 10] for i in range(20)]
FIXED = [[20 + i % 2, 20, 20, 20] for i in range(20)]


def test_the_same_box_everywhere():
    text = same_everywhere(judged(FIXED, MOVING))
    assert text.startswith("In 20 of 20 pictures, the detection with the highest score is nearly the same box.")


def test_the_size_of_a_picture_does_not_matter():
    pictures = judged(FIXED, MOVING)
    for i, x in enumerate(pictures):
        width, height = 1 + i, 20 - i
        x.detections.pred_boxes.scale(width, height)
        x.detections._image_size = (50 * height, 50 * width)
        x.record["annotations"] = [{**y, "bbox": [0, 0, 1, 1]} for y in x.record["annotations"]]
    assert same_everywhere(pictures)


@pytest.mark.parametrize(
    "boxes, objects, options",
    [
        (MOVING, FIXED, {}),  # wrong everywhere, but not the same
        (FIXED, FIXED, {}),  # objects are always in the middle, and are found
        (FIXED, FIXED, {"category": 9}),  # the same with wrong classes
        (FIXED[:9], MOVING[:9], {}),  # too few pictures
        ([None] * 20, MOVING, {}),
        (FIXED[:14] + [None] * 6, MOVING, {}),
        (FIXED, FIXED, {"crowd": 1}),
        (FIXED * 5, MOVING[:9] + [None] * 91, {}),  # the other pictures are background
    ],
)
def test_no_warning(boxes, objects, options):
    assert same_everywhere(judged(boxes, objects, **options)) is None


def test_pictures_without_objects_do_not_count():
    text = same_everywhere(judged(FIXED * 2, MOVING + [None] * 20))
    assert text.startswith("In 20 of 20 pictures")


def test_a_box_on_a_crowd_region_is_on_no_object():
    pictures = judged(FIXED, MOVING)
    for x in pictures:
        x.record["annotations"].append({**x.record["annotations"][0], "bbox": FIXED[0], "iscrowd": 1})
    assert same_everywhere(pictures)


@pytest.mark.parametrize("boxes, same", [(FIXED, True), (MOVING, False)])
def test_the_report_and_the_screen_say_so(boxes, same, tmp_path, caplog):
    records = [record(i, (MOVING[0], 0, 0)) for i in range(20)]
    for x in records:
        x["file_name"] = str(tmp_path / x["file_name"])
        Image.new("RGB", (50, 50)).save(x["file_name"])
    found = [detection(i, box, 7, 0.9) for i, box in enumerate(boxes)]
    (tmp_path / "coco_instances_results.json").write_text(json.dumps(found))
    style = Style(Metadata(thing_classes=["a", "b"]), 50)
    with caplog.at_level(logging.WARNING, "dab_detr"):
        worst, best = pictures_sections(tmp_path, records, labels=LABELS, score_threshold=0.3, style=style)
    assert worst.note.startswith("In 20 of 20 pictures") == same and "In 20" not in best.note
    assert ("nearly the same box" in caplog.text) == same
