"""Detectron2's COCO evaluator without its traps."""

import json

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, BoxMode, Instances

from coco_files import content, write
from dab_detr.data.coco import dataset_name
from dab_detr.evaluation.coco import coco_evaluator


def detections(boxes, scores, classes) -> dict:
    instances = Instances((10, 20))
    instances.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float).reshape(-1, 4))
    instances.scores, instances.pred_classes = torch.tensor(scores), torch.tensor(classes)
    return {"instances": instances}


def evaluated(evaluator, outputs: dict[int, dict]) -> dict:
    evaluator.reset()
    evaluator.process([{"image_id": i} for i in outputs], list(outputs.values()))
    return evaluator.evaluate()["bbox"]


def test_perfect_detections(tmp_path):
    data = content()
    evaluator = coco_evaluator(dataset_name=dataset_name(**write(tmp_path, "val", data)), output_dir=str(tmp_path))
    outputs = {}
    for image in data["images"]:
        objects = [x for x in data["annotations"] if x["image_id"] == image["id"]]
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (x["bbox"] for x in objects)]
        outputs[image["id"]] = detections(boxes, [0.9] * len(objects), [x["category_id"] - 1 for x in objects])
    results = evaluated(evaluator, outputs)
    assert results["AP"] == pytest.approx(100) and results["AP-class 2"] == pytest.approx(100)
    assert json.loads((tmp_path / "coco_instances_results.json").read_text())


def test_the_best_hundred_of_an_image_count(tmp_path):
    data = {**content(ids=(7,), num_images=2), "annotations": content(ids=(7,), num_images=2)["annotations"]}
    evaluator = coco_evaluator(dataset_name=dataset_name(**write(tmp_path, "val", data)), output_dir=str(tmp_path))
    right, wrong = [0, 1, 8, 5], [10, 5, 20, 10]
    for rank, expected in ((99, 0.0099), (100, 0.0)):
        scores = [1 - i / 1000 for i in range(300)]
        boxes = [right if i == rank else wrong for i in range(300)]
        results = evaluated(evaluator, {10: detections(boxes, scores, [0] * 300)})
        assert results["AP"] == pytest.approx(100 * expected, abs=0.02)


def test_no_stale_annotations_for_a_dataset_without_a_file(tmp_path):
    """Two runs, with the same name for a dataset that has changed between them."""
    for run, box in enumerate(([0, 0, 8, 8], [10, 2, 18, 8])):
        name = "changing"
        record = {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
        image = {"image_id": 0, "height": 10, "width": 20, "file_name": "", "annotations": [record]}
        DatasetCatalog.register(name, lambda image=image: [image])
        MetadataCatalog.get(name).thing_classes = ["thing"]
        try:
            evaluator = coco_evaluator(dataset_name=name, output_dir=str(tmp_path))
            assert evaluated(evaluator, {0: detections([box], [0.9], [0])})["AP"] == pytest.approx(100), run
        finally:
            DatasetCatalog.remove(name)
            MetadataCatalog.remove(name)
