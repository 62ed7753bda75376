"""The tables and pictures of an evaluation say what the evaluation found."""

import csv
import math

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from coco_files import content
from dab_detr.evaluation.box_eval import BoxEval
from dab_detr.evaluation.report import class_reports, precision_recall, write_report


@pytest.fixture
def evaluation() -> BoxEval:
    """Of class 0 two of three objects and one wrong box are found, of 1 all, of 2 none; class 3 has no objects."""
    data = content()
    data["categories"].append({"id": 4, "name": "class 3"})
    truth = COCO()
    truth.dataset = data
    truth.createIndex()
    of_class = {k: [x for x in data["annotations"] if x["category_id"] == k] for k in (1, 2)}
    found = [(x, 0.9 - 0.1 * i) for i, x in enumerate(of_class[1][:2])] + [(x, 0.6) for x in of_class[2]]
    detections = [{**{k: x[k] for k in ("image_id", "category_id", "bbox")}, "score": score} for x, score in found]
    detections[1]["bbox"] = [detections[1]["bbox"][0] + 2.5, *detections[1]["bbox"][1:]]  # an IoU of 0.52
    detections.append({"image_id": 0, "category_id": 1, "bbox": [0, 0, 5, 5], "score": 0.85})
    return BoxEval(truth, truth.loadRes(detections), max_detections=100, area_sides=(32, 96)).run()


def read(path) -> list[dict]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_classes(evaluation):
    first, second, third, fourth = class_reports(evaluation)
    assert [x.objects for x in (first, second, third, fourth)] == [3, 2, 1, 0]
    assert first.precisions[1] == pytest.approx(100 * (34 * 1 + 33 * 2 / 3) / 101)  # of 101 values of recall
    assert first.precisions[2] == pytest.approx(100 * 34 / 101)
    assert first.precisions[0] == pytest.approx(0.1 * first.precisions[1] + 0.9 * first.precisions[2])
    assert second.precisions[:4] == pytest.approx((100, 100, 100, 100)) and math.isnan(second.precisions[5])
    assert third.precisions[0] == 0 and math.isnan(third.threshold)
    assert all(map(math.isnan, fourth.precisions))
    assert (first.threshold, first.precision, first.recall) == pytest.approx((0.8, 200 / 3, 66))
    assert second.threshold == pytest.approx(0.6) and second.f1 == pytest.approx(100)
    assert np.mean([x.precisions[0] for x in (first, second, third)]) == pytest.approx(100 * evaluation.stats[0])


def test_curves(evaluation):
    curves = precision_recall(evaluation)
    assert curves.precision.shape == curves.score.shape == (10, 101, 4)
    assert curves.precision[0, :, 0] == pytest.approx([1] * 34 + [2 / 3] * 33 + [0] * 34)
    assert np.isnan(curves.precision[:, :, 3]).all()


def test_files(evaluation, tmp_path):
    confusions = np.array([[2, 0, 0, 0, 1], [0, 2, 0, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 0, 0], [1, 0, 0, 0, 0]])
    write_report(str(tmp_path), evaluation, confusions, 0.3)
    classes = read(tmp_path / "classes.csv")
    assert [(x["id"], x["class"], x["objects"]) for x in classes] == [
        (str(k + 1), f"class {k}", str(number)) for k, number in enumerate((3, 2, 1, 0))
    ]
    assert classes[1]["AP50"] == "100" and classes[3]["AP"] == "nan"
    curves = read(tmp_path / "pr_curves.csv")
    assert len(curves) == 4 * 2 * 101
    assert curves[40] == {"class": "class 0", "iou": "0.50", "recall": "0.40", "precision": "0.6667", "score": "0.8000"}
    matrix = read(tmp_path / "confusion_matrix.csv")
    assert [[int(x) for x in list(row.values())[1:]] for row in matrix] == confusions.tolist()
    assert matrix[-1]["true class"] == "background" and list(matrix[0])[-1] == "missed"
    for name in ("pr_curves.png", "confusion_matrix.png"):
        with Image.open(tmp_path / name) as image:
            assert min(image.size) > 400 and len(set(image.convert("L").tobytes())) > 20


NAMES = ["bar $%d$", "R&D <b>", "x" * 200, "\ud800_"]


def test_any_class_names(evaluation, tmp_path, caplog):
    for category, name in zip(evaluation.cocoGt.dataset["categories"], NAMES, strict=True):
        category["name"] = name
    write_report(str(tmp_path), evaluation, np.ones((5, 5), int), 0.3)
    assert "could not be drawn" not in caplog.text
    assert {x.name for x in tmp_path.glob("*.png")} == {"pr_curves.png", "confusion_matrix.png"}
    assert [x["class"] for x in read(tmp_path / "classes.csv")] == [*NAMES[:3], "\\ud800_"]


def test_a_failure_to_draw_is_a_warning(evaluation, tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("dab_detr.evaluation.report.draw_confusions", lambda *args: 1 / 0)
    write_report(str(tmp_path), evaluation, np.ones((5, 5), int), 0.3)
    assert "confusion_matrix.png could not be drawn" in caplog.text
    assert (tmp_path / "pr_curves.png").exists() and (tmp_path / "confusion_matrix.csv").exists()
