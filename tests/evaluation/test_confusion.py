"""Who was taken for whom, on boxes that can be counted by hand."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.coco import COCO

from dab_detr.evaluation.confusion import count_confusions

BOX, NEAR, FAR = [0, 0, 10, 10], [1, 0, 10, 10], [50, 50, 10, 10]


def coco(annotations) -> COCO:
    """pycocotools' view of (category, box, further keys) in one image of the classes 3 and 5."""
    api = COCO()
    api.dataset = {
        "images": [{"id": 1}],
        "categories": [{"id": 5}, {"id": 3}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": category, "bbox": box, **more}
            for i, (category, box, more) in enumerate(annotations)
        ],
    }
    api.createIndex()
    return api


def counted(objects, detections, threshold=0.3) -> list[list[int]]:
    truth = coco([(category, box, {"iscrowd": int(bool(crowd))}) for category, box, *crowd in objects])
    found = coco([(category, box, {"score": score}) for category, box, score in detections])
    return count_confusions(truth, found, threshold).tolist()


@pytest.mark.parametrize(
    ("objects", "detections", "expected"),
    [
        ([(3, BOX)], [(3, NEAR, 0.9)], [[1, 0, 0], [0, 0, 0], [0, 0, 0]]),
        ([(3, BOX)], [(5, NEAR, 0.9)], [[0, 1, 0], [0, 0, 0], [0, 0, 0]]),
        ([(3, BOX)], [(3, FAR, 0.9)], [[0, 0, 1], [0, 0, 0], [1, 0, 0]]),
        ([(5, BOX)], [(5, NEAR, 0.2)], [[0, 0, 0], [0, 0, 1], [0, 0, 0]]),  # below the threshold
        ([(3, BOX)], [(5, NEAR, 0.5), (3, BOX, 0.4)], [[0, 1, 0], [0, 0, 0], [1, 0, 0]]),  # the higher score takes it
        ([(3, BOX)], [(3, BOX, 0.4), (5, NEAR, 0.5)], [[0, 1, 0], [0, 0, 0], [1, 0, 0]]),  # in any order
        ([(3, BOX), (5, NEAR)], [(3, BOX, 0.5), (5, BOX, 0.4)], [[1, 0, 0], [0, 1, 0], [0, 0, 0]]),  # then the next
        (
            [(3, [0, 0, 100, 100], "crowd")],
            [(3, BOX, 0.5)],
            [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
        ),  # a crowd does not count
        ([(3, [0, 0, 100, 100], "crowd"), (5, BOX)], [(5, BOX, 0.5)], [[0, 0, 0], [0, 1, 0], [0, 0, 0]]),
        ([], [(5, BOX, 0.5)], [[0, 0, 0], [0, 0, 0], [0, 1, 0]]),
        ([(3, BOX)], [], [[0, 0, 1], [0, 0, 0], [0, 0, 0]]),
    ],
)
def test_counts(objects, detections, expected):
    assert counted(objects, detections) == expected


boxes = st.tuples(*[st.integers(0, 12)] * 2, *[st.integers(4, 12)] * 2).map(list)
classes = st.sampled_from([3, 5])


@settings(max_examples=50, deadline=None)
@given(
    objects=st.lists(st.tuples(classes, boxes), max_size=6),
    detections=st.lists(st.tuples(classes, boxes, st.floats(0, 1)), max_size=8),
)
def test_every_object_and_every_detection_counts_once(objects, detections):
    counts = np.array(counted(objects, detections))
    assert counts[:-1].sum(axis=1).tolist() == [sum(c == k for c, _ in objects) for k in (3, 5)]
    found = [c for c, _, score in detections if score >= 0.3]
    assert counts[:, :-1].sum(axis=0).tolist() == [found.count(k) for k in (3, 5)]
