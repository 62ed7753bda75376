"""The evaluation is pycocotools' own, for other limits too."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from dab_detr.evaluation.box_eval import BoxEval


def truth_and_detections(seed: int) -> tuple[COCO, COCO]:
    """Boxes of 10 to 200 pixels in three images, and detections near them."""
    rng = np.random.default_rng(seed)
    boxes = np.concatenate([rng.uniform(0, 300, (24, 2)), rng.uniform(10, 200, (24, 2))], axis=1)
    truth = COCO()
    truth.dataset = {
        "images": [{"id": i} for i in range(3)],
        "categories": [{"id": i, "name": str(i)} for i in (1, 2)],
        "annotations": [
            {"id": i + 1, "image_id": i % 3, "category_id": 1 + i % 2, "bbox": box.tolist(),
             "area": float(box[2:].prod()), "iscrowd": int(i == 5)}
            for i, box in enumerate(boxes)
        ],
    }  # fmt: skip
    truth.createIndex()
    found = [
        {"image_id": i % 3, "category_id": 1 + i % 2, "bbox": (box + rng.normal(0, 8, 4)).clip(1).tolist(),
         "score": float(rng.random())}
        for i, box in enumerate(boxes)
        for _ in range(2)
    ]  # fmt: skip
    return truth, truth.loadRes(found)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_by_default_it_is_the_official_one(seed):
    truth, detections = truth_and_detections(seed)
    official = COCOeval(truth, detections, "bbox")
    official.evaluate()
    official.accumulate()
    official.summarize()
    ours = BoxEval(truth, detections, max_detections=100, area_sides=(32, 96)).run()
    assert ours.stats == pytest.approx(official.stats, abs=1e-12)
    assert len(set(ours.stats)) > 6


def test_a_limit_counts_the_best(capsys):
    truth, detections = truth_and_detections(0)
    every, few = (BoxEval(truth, detections, max_detections=n, area_sides=(32, 96)).run() for n in (300, 3))
    standard = BoxEval(truth, detections, max_detections=100, area_sides=(32, 96)).run()
    assert every.stats[0] == standard.stats[0] > few.stats[0] > 0
    assert few.params.maxDets == [1, 3, 3] and few.stats[7] == few.stats[8]
    out = capsys.readouterr().out
    assert f"Average precision @[ IoU=0.50:0.95 | area=   all | maxDets=300 ] = {every.stats[0]:.3f}" in out


def test_areas():
    truth, detections = truth_and_detections(0)
    all_small = BoxEval(truth, detections, max_detections=100, area_sides=(1000, 2000)).run()
    assert all_small.stats[3] == all_small.stats[0] and (all_small.stats[4:6] == -1).all()
