"""Detectron2's COCO evaluator without its traps."""

import json

import pytest
import torch
from detectron2 import _C
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, BoxMode, Instances
from hypothesis import example, given, settings
from hypothesis import strategies as st

from coco_files import as_floats, content, write
from dab_detr.data.coco import dataset_name
from dab_detr.evaluation.coco import coco_evaluator


@pytest.fixture(autouse=True)
def no_report(request, monkeypatch):
    """Pictures take longer than all else."""
    if request.node.name != "test_a_report_is_left":
        monkeypatch.setattr("dab_detr.evaluation.report.write_report", lambda *args: None)


def detections(boxes, scores, classes) -> dict:
    instances = Instances((10, 20))
    instances.pred_boxes = Boxes(torch.tensor(boxes, dtype=torch.float).reshape(-1, 4))
    instances.scores, instances.pred_classes = torch.tensor(scores), torch.tensor(classes)
    return {"instances": instances}


def evaluated(evaluator, outputs: dict[int, dict]) -> dict:
    evaluator.reset()
    evaluator.process([{"image_id": i} for i in outputs], list(outputs.values()))
    return evaluator.evaluate()["bbox"]


def perfect(data) -> dict[int, dict]:
    outputs = {}
    for image in data["images"]:
        objects = [x for x in data["annotations"] if x["image_id"] == image["id"]]
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (x["bbox"] for x in objects)]
        outputs[image["id"]] = detections(boxes, [0.9] * len(objects), [x["category_id"] - 1 for x in objects])
    return outputs


def test_perfect_detections(tmp_path):
    data = content()
    evaluator = coco_evaluator(dataset_name=dataset_name(**write(tmp_path, "val", data)), output_dir=str(tmp_path))
    results = evaluated(evaluator, perfect(data))
    assert results["AP"] == pytest.approx(100) and results["AP-class 2"] == pytest.approx(100)
    assert json.loads((tmp_path / "coco_instances_results.json").read_text())


@pytest.mark.parametrize("data", [content(ids=(4, 8)), as_floats(content(ids=(4, 8)))], ids=["good", "floats"])
def test_perfect_detections_of_a_registered_dataset(tmp_path, data):
    """The registration is what the evaluator needs, also before the dataset was loaded."""
    name = dataset_name(**write(tmp_path, "val", data))
    outputs = perfect(data)
    for output in outputs.values():
        output["instances"].pred_classes = (output["instances"].pred_classes + 1) // 4 - 1
    evaluator = coco_evaluator(dataset_name=name, output_dir=str(tmp_path))
    assert evaluated(evaluator, outputs)["AP"] == pytest.approx(100)


IDS = st.integers() | st.text() | st.none() | st.floats(allow_nan=False)


@settings(max_examples=20, deadline=None)
@given(ids=st.lists(IDS, min_size=6, max_size=6), images=st.lists(st.integers(), min_size=4, max_size=4, unique=True))
@example(ids=[0, -1, 2**63, 2**63 + 1, 7, 7], images=[-1, 0, 2**53 + 1, 2**63 - 1])
def test_metrics_do_not_depend_on_ids(tmp_path_factory, ids, images):
    folder, data = tmp_path_factory.mktemp("ids"), content()
    new = dict(zip((x["id"] for x in data["images"]), images, strict=True))
    for x in data["images"]:
        x["id"] = new[x["id"]]
    for x, i in zip(data["annotations"], ids, strict=True):
        x.update(id=i, image_id=new[x["image_id"]])
    name = dataset_name(**write(folder, "val", data))
    evaluator = coco_evaluator(dataset_name=name, output_dir=str(folder))
    assert evaluated(evaluator, perfect(data))["AP"] == pytest.approx(100)


def test_the_best_hundred_of_an_image_count(tmp_path):
    data = {**content(ids=(7,), num_images=2), "annotations": content(ids=(7,), num_images=2)["annotations"]}
    evaluator = coco_evaluator(dataset_name=dataset_name(**write(tmp_path, "val", data)), output_dir=str(tmp_path))
    right, wrong = [0, 1, 8, 5], [10, 5, 20, 10]
    for rank, expected in ((99, 0.0099), (100, 0.0)):
        scores = [1 - i / 1000 for i in range(300)]
        boxes = [right if i == rank else wrong for i in range(300)]
        results = evaluated(evaluator, {10: detections(boxes, scores, [0] * 300)})
        assert results["AP"] == pytest.approx(100 * expected, abs=0.02)


@pytest.mark.parametrize("ended", [True, False], ids=["another process", "the same process"])
@pytest.mark.parametrize("folders", [("a", "a"), ("a", "b"), ("a", "b", "a")])
def test_no_stale_annotations_for_a_dataset_without_a_file(tmp_path, ended, folders):
    """Runs with the same name for a dataset that has changed between them; a process that ended forgot its metadata."""
    name, boxes = "changing", ([0, 0, 8, 8], [10, 2, 18, 8], [4, 4, 9, 9])
    try:
        for run, (folder, box) in enumerate(zip(folders, boxes, strict=False)):
            record = {"bbox": box, "bbox_mode": BoxMode.XYXY_ABS, "category_id": 0}
            image = {"image_id": 0, "height": 10, "width": 20, "file_name": "", "annotations": [record]}
            DatasetCatalog.register(name, lambda image=image: [image])
            MetadataCatalog.get(name).thing_classes = ["thing"]
            evaluator = coco_evaluator(dataset_name=name, output_dir=str(tmp_path / folder))
            assert evaluated(evaluator, {0: detections([box], [0.9], [0])})["AP"] == pytest.approx(100), run
            DatasetCatalog.remove(name)
            if ended:
                MetadataCatalog.remove(name)
    finally:
        MetadataCatalog.pop(name, None)
        DatasetCatalog.pop(name, None)


def test_the_annotation_file_of_a_dataset_stays(tmp_path):
    """Also one that is called like those that Detectron2 writes."""
    files = write(tmp_path, "val", content())
    name = dataset_name(**files)
    own = files["annotations"].rename(tmp_path / f"{name}_coco_format.json")
    MetadataCatalog.get(name).__dict__["json_file"] = str(own)
    coco_evaluator(dataset_name=name, output_dir=str(tmp_path / "output"))
    assert json.loads(own.read_text()) == content()


def test_the_metrics_are_detectron2s(tmp_path):
    """Also where the installed Detectron2 has the compiled evaluation, which by default it uses."""
    name = dataset_name(**write(tmp_path, "val", content(num_images=6)))
    outputs = perfect(content(num_images=6))
    for i, output in outputs.items():
        instances = output["instances"]
        instances.pred_boxes.tensor += torch.arange(len(instances))[:, None] * 0.3
        instances.pred_classes[i // 10 :: 2] = 0
        instances.scores -= 0.1 * torch.rand(len(instances))
    compiled = hasattr(_C, "InstanceAnnotation")
    theirs = evaluated(COCOEvaluator(name, output_dir=str(tmp_path), use_fast_impl=compiled), outputs)
    ours = evaluated(coco_evaluator(dataset_name=name, output_dir=str(tmp_path)), outputs)
    assert ours == pytest.approx(theirs, nan_ok=True) and 20 < ours["AP"] < 90


def test_limit_of_detections(tmp_path):
    data = content(ids=(7,), num_images=2)
    name = dataset_name(**write(tmp_path, "val", data))
    right, wrong = [0, 1, 8, 5], [10, 5, 20, 10]
    outputs = {10: detections([right if i == 120 else wrong for i in range(300)],
                              [1 - i / 1000 for i in range(300)], [0] * 300)}  # fmt: skip
    for limit, expected in ((100, 0.0), (200, 1 / 121), (5, 0.0)):
        evaluator = coco_evaluator(dataset_name=name, output_dir=str(tmp_path), max_detections=limit)
        assert evaluated(evaluator, outputs)["AP"] == pytest.approx(100 * expected, abs=0.02), limit


def test_bounds_of_areas(tmp_path):
    """Objects of 8 x 4 pixels, whose area has the root 5.7."""
    name = dataset_name(**write(tmp_path, "val", content()))
    for sides, size in (((32, 96), "APs"), ((5, 96), "APm"), ((2, 5), "APl")):
        evaluator = coco_evaluator(dataset_name=name, output_dir=str(tmp_path), area_sides=sides)
        results = evaluated(evaluator, perfect(content()))
        assert {key for key in ("APs", "APm", "APl") if results[key] == pytest.approx(100)} == {size}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_detections": 0}, "max_detections must be 1 or more, got 0"),
        ({"area_sides": [96, 32]}, r"area_sides must be two rising sides in pixels, got \[96, 32\]"),
        ({"area_sides": [32]}, r"area_sides .* got \[32\]"),
    ],
)
def test_settings_that_make_no_sense(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        coco_evaluator(dataset_name="coco_2017_val", output_dir=str(tmp_path), **settings)


def test_a_report_is_left(tmp_path):
    name = dataset_name(**write(tmp_path, "val", content()))
    evaluated(coco_evaluator(dataset_name=name, output_dir=str(tmp_path)), perfect(content()))
    found = {path.name for path in tmp_path.glob("*.*")}
    assert found >= {"classes.csv", "pr_curves.csv", "pr_curves.png", "confusion_matrix.csv", "confusion_matrix.png"}


def test_nothing_detected_and_nothing_annotated(tmp_path):
    data = content()
    evaluator = coco_evaluator(dataset_name=dataset_name(**write(tmp_path, "val", data)), output_dir=str(tmp_path))
    assert torch.tensor(evaluated(evaluator, {10: detections([], [], [])})["AP"]).isnan()
    del data["annotations"]
    name = dataset_name(**write(tmp_path, "test", data))
    evaluator = coco_evaluator(dataset_name=name, output_dir=str(tmp_path / "test"))
    evaluator.reset()
    evaluator.process([{"image_id": 10}], [detections([[0, 1, 8, 5]], [0.9], [2])])
    assert evaluator.evaluate() == {}
    (detection,) = json.loads((tmp_path / "test" / "coco_instances_results.json").read_text())
    assert detection["category_id"] == 3 and detection["bbox"] == [0, 1, 8, 4]
