"""Right and wrong detections of a picture, and the order of pictures."""

import json

import pytest

from coco_results import LABELS, detection, record
from dab_detr.report.ranking import instances, judge, judged

A, B, C = [0, 0, 10, 10], [20, 20, 10, 10], [30, 0, 20, 20]


@pytest.mark.parametrize(
    "detections, counts",
    [
        ([], (0, 0, 2)),
        ([(A, 7, 0.9), (B, 9, 0.9)], (2, 0, 0)),
        ([(A, 9, 0.9)], (0, 1, 2)),  # another class
        ([(A, 7, 0.9), (A, 7, 0.8)], (1, 1, 1)),  # twice
        ([(A, 7, 0.2)], (0, 0, 2)),  # below the threshold
        ([(C, 7, 0.9)], (0, 0, 2)),  # in a crowd region
        ([(C, 9, 0.9)], (0, 1, 2)),
        ([([0, 0, 10, 4], 7, 0.9)], (0, 1, 2)),  # an IoU of 0.4
    ],
)
def test_counts(detections, counts):
    truth = record(1, (A, 0, 0), (B, 1, 0), (C, 0, 1))
    found = instances([detection(1, *x) for x in detections], truth, LABELS)
    picture = judge(truth, found, 0.3)
    assert (picture.right, picture.wrong, picture.missed) == counts


def test_the_worst_comes_first(tmp_path):
    records = [record(1, (A, 0, 0)), record(2), record(3, (A, 0, 0), (B, 1, 0)), record(4, (A, 0, 0), (B, 1, 0))]
    found = [detection(1, A, 7, 0.9), detection(3, A, 7, 0.9)]
    path = tmp_path / "found.json"
    path.write_text(json.dumps(found))
    pictures = judged(path, records, labels=LABELS, score_threshold=0.3)
    assert [x.record["image_id"] for x in pictures] == [4, 3, 2, 1]
    assert [round(x.f1, 2) for x in pictures] == [0, 0.67, 1, 1]
    assert str(pictures[1]) == "3.png: 1 right, 0 wrong, 1 missed (F1 0.67)"
