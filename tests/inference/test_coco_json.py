"""Detections as a COCO file, which COCO's own library opens."""

import json

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from pycocotools.coco import COCO

from dab_detr.inference.coco_json import CocoFile
from dab_detr.inference.detections import Detections


def detections(name: str, boxes, labels) -> Detections:
    instances = Instances(
        (40, 60),
        pred_boxes=Boxes(torch.tensor(boxes, dtype=torch.float).reshape(-1, 4)),
        scores=torch.linspace(0.875, 0.5, len(labels)),
        pred_classes=torch.tensor(labels, dtype=torch.long),
    )
    return Detections(name=name, image=np.zeros((40, 60, 3), np.uint8), instances=instances, class_names=["a", "b"])


@pytest.mark.parametrize("ids, expected", [(None, [1, 2]), ([7, 90], [7, 90])])
def test_opens_as_a_dataset(ids, expected, tmp_path, capsys):
    file = CocoFile(class_names=["a", "b"], category_ids=ids)
    file.add(detections("x/1.jpg", [], []))
    file.add(detections("x/2.jpg", [[1, 2, 11, 22], [0, 0, 60, 40]], [1, 0]))
    file.save(tmp_path / "found.json")
    coco = COCO(str(tmp_path / "found.json"))
    assert [coco.imgs[i]["file_name"] for i in sorted(coco.imgs)] == ["x/1.jpg", "x/2.jpg"]
    assert (coco.imgs[2]["height"], coco.imgs[2]["width"]) == (40, 60)
    assert {i: x["name"] for i, x in coco.cats.items()} == dict(zip(expected, ["a", "b"], strict=True))
    found = coco.imgToAnns[2]
    assert [x["bbox"] for x in found] == [[1, 2, 10, 20], [0, 0, 60, 40]]
    assert [(x["category_id"], x["score"], x["area"]) for x in found] == [
        (expected[1], 0.875, 200),
        (expected[0], 0.5, 2400),
    ]
    assert coco.imgToAnns[1] == []


def test_its_annotations_are_results(tmp_path, capsys):
    file = CocoFile(class_names=["a", "b"])
    file.add(detections("1.jpg", [[1, 2, 11, 22]], [1]))
    file.save(tmp_path / "found.json")
    coco = COCO(str(tmp_path / "found.json"))
    results = coco.loadRes(json.loads((tmp_path / "found.json").read_text())["annotations"])
    assert results.anns[1]["bbox"] == [1, 2, 10, 20]
