"""Detections as a COCO file, which COCO's own library opens."""

import json

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from pycocotools.coco import COCO

from dab_detr.inference.coco_json import CocoFile, StreamedFile
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


HEAD = {"info": {"threshold": 0.3}, "categories": [{"id": 7, "name": "a"}, {"id": 90, "name": "b"}]}
FOUND = [
    detections("x/1.jpg", [], []),
    detections("x/2.jpg", [[1, 2, 11, 22], [0, 0, 60, 40]], [1, 0]),
    detections("x/2.jpg", [[1, 2, 11, 22]], [0]),
    detections("\udcff ü\n.jpg", [[1, 2, 11, 22]], [0]),
]


def write(path, found, **options) -> None:
    file = StreamedFile(path, head=HEAD, **options)
    for x in found:
        file.add(x)
    file.close()


def test_what_is_streamed_is_what_is_collected(tmp_path):
    collected = CocoFile(class_names=["a", "b"], category_ids=[7, 90])
    for x in FOUND:
        collected.add(x)
    collected.save(tmp_path / "collected.json")
    write(tmp_path / "streamed.json", FOUND)
    whole, streamed = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("collected", "streamed"))
    assert streamed == whole | {"info": HEAD["info"]}
    assert sorted(x.name for x in tmp_path.iterdir()) == ["collected.json", "streamed.json"]


@pytest.mark.parametrize("name", ["found.json", "found.jsonl"])
@pytest.mark.parametrize("done", range(5))
@pytest.mark.parametrize("end", ["closed", "killed", "killed in a line"])
def test_a_run_that_goes_on_writes_the_same_file(name, done, end, tmp_path):
    (tmp_path / "whole").mkdir()
    write(tmp_path / "whole" / name, FOUND)
    file = StreamedFile(tmp_path / name, head=HEAD)
    for x in FOUND[:done]:
        file.add(x)
    if end == "closed":
        file.close()
    elif end == "killed in a line":
        file.file.write(b'{"file_name": "x/')
        file.file.flush()
    again = StreamedFile(tmp_path / name, head=HEAD, resume=True)
    assert sum(again.done.values()) == done and again.done["x/2.jpg"] == min(2, max(0, done - 1))
    for x in FOUND[done:]:
        again.add(x)
    again.close()
    assert (tmp_path / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("name", ["found.json", "found.jsonl"])
def test_a_file_of_another_run_is_not_gone_on_with(name, tmp_path):
    write(tmp_path / name, FOUND)
    before = (tmp_path / name).read_bytes()
    with pytest.raises(ValueError, match="found.jsonl? cannot be resumed, its info and categories differ"):
        StreamedFile(tmp_path / name, head={"info": {}, "categories": []}, resume=True)
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize("name", ["found.json", "found.jsonl"])
@pytest.mark.parametrize(
    "content", ["no json\n", "[1]\n", '{"images": []}\n', '{"annotations": [1], "images": []}\n', "[" * 9999 + "\n"]
)
def test_what_is_not_of_a_prediction_is_named(name, content, tmp_path):
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=r"found\.jsonl?\b"):
        StreamedFile(tmp_path / name, head=HEAD, resume=True)
    assert (tmp_path / name).read_text() == content
