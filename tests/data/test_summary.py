"""The numbers of a dataset."""

import pytest
from detectron2.structures import BoxMode

from dab_detr.data.summary import summarize


def record(*sides: int, crowd: int = 0, mode=BoxMode.XYWH_ABS) -> dict:
    boxes = [[5, 5, side, side] if mode == BoxMode.XYWH_ABS else [5, 5, 5 + side, 5 + side] for side in sides]
    objects = [{"bbox": box, "bbox_mode": mode, "category_id": i % 2, "iscrowd": 0} for i, box in enumerate(boxes)]
    crowds = [{"bbox": [0, 0, 90, 90], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0, "iscrowd": 1}] * crowd
    return {"height": 100, "width": 200, "annotations": objects + crowds}


@pytest.mark.parametrize("mode", [BoxMode.XYWH_ABS, BoxMode.XYXY_ABS])
def test_objects_are_counted_and_measured(mode):
    found = summarize([record(10, 20, 30, mode=mode), record(crowd=2), record(20, mode=mode)], ["a", "b", "c"])
    assert (found.images, found.empty, found.most_objects, found.num_objects) == (3, 1, 3, 4)
    assert found.objects == {"a": 3, "b": 1, "c": 0} and found.rarest == 0
    assert (found.short_side, found.long_side) == (100, 200)
    assert found.object_sides == pytest.approx((13, 20, 27))


def test_nothing_is_zero():
    found = summarize([], ["a"])
    assert (found.images, found.num_objects, found.most_objects, found.object_sides) == (0, 0, 0, (0.0, 0.0, 0.0))
    assert summarize([record()], []).rarest == 0
