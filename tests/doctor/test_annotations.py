"""What is read of an annotation file, and the words for what is wrong with it."""

import copy
import json
import re

import pytest

from coco_files import content, without, write
from dab_detr.doctor.annotations import AnnotationFile, read_annotations
from dab_detr.doctor.finding import Severity


def read(folder, data) -> AnnotationFile:
    return read_annotations(write(folder, "train", data)["annotations"])


def errors(file: AnnotationFile) -> list[str]:
    return [str(finding) for finding in file.findings if finding.severity is Severity.ERROR]


def test_good_file(tmp_path):
    file = read(tmp_path, content(ids=(7, 3)))
    assert list(file.categories.items()) == [(3, "class 1"), (7, "class 0")]
    assert file.annotated and errors(file) == [] and file.evaluation_findings == ()
    assert file.images == tuple((10 * i, f"{i}.png", 20, 10, i) for i in range(4))
    assert file.learned == file.evaluated == {"class 0", "class 1"}


def test_test_images_have_no_annotations(tmp_path):
    data = content()
    del data["annotations"]  # like COCO's test-dev
    file = read(tmp_path, data)
    assert not file.annotated and file.findings == file.evaluation_findings == ()


@pytest.mark.parametrize("trained", [True, False])
def test_without_annotations_nothing_is_trained(tmp_path, trained):
    data = content()
    del data["annotations"]
    (finding,) = read(tmp_path, data).findings_for(trained=trained)
    assert finding.kind == "no annotations"
    assert finding.severity is (Severity.ERROR if trained else Severity.WARNING)


def test_byte_order_mark(tmp_path):
    file = read(tmp_path, "\ufeff" + json.dumps(content()))
    assert len(file.images) == 4 and [x.kind for x in file.findings if x.severity is Severity.ERROR] == [
        "byte order mark"
    ]


def test_changed_file_is_read_again(tmp_path):
    assert len(read(tmp_path, content()).categories) == 3
    assert len(read(tmp_path, content(ids=(1, 2, 3, 4))).categories) == 4


@pytest.mark.parametrize("key", ["area", "iscrowd"])
def test_what_only_evaluation_needs(tmp_path, key):
    data = content()
    without(data, key, 1)
    file = read(tmp_path, data)
    assert errors(file) == []
    (finding,) = file.evaluation_findings
    assert re.search(rf"^1 annotations have no '{key}' .*\(set it to .*\): annotation 101 \(2\.png\)", str(finding))


NOT_COCO = {
    "yolo": ("0 0.5 0.5 0.1 0.2\n1 0.2 0.3 0.1 0.1\n", "JSON .*it looks like labels of YOLO"),
    "yolo config": ("path: data\ntrain: images\nnc: 3\n", r"it looks like a data\.yaml of YOLO"),
    "voc": ("<annotation><object/></annotation>", "it looks like XML of Pascal VOC"),
    "cut short": (json.dumps(content())[:-40], r"JSON \("),
    "empty": ("", "JSON"),
    "results": ([{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}], "it looks like detections"),
    "list": ([1, 2], "it is a list, not a dict"),
    "number": ("3", "it must be a dict"),
    "labelme": ({"images": [], "shapes": []}, "list 'images' is missing or empty .* it looks like a LabelMe file"),
    "no categories": ({**content(), "categories": []}, "list 'categories' is missing or empty"),
    "no file name": ({**content(), "images": [{"id": 1}]}, r"images\[0\] must have file_name, id"),
    "images in an object": ({**content(), "images": {"1": {}}}, "'images' must be a list and is an object"),
    "text ids": ({**content(), "categories": [{"id": "x", "name": "a"}]}, "ids of categories must be whole numbers"),
    "equal ids": (
        {**content(), "categories": [{"id": "1", "name": "a"}, {"id": 1, "name": "b"}]},
        "ids of categories must be whole numbers",
    ),
    "list as id": (
        {**content(), "images": [{"id": [1], "file_name": "1.png", "width": 20, "height": 10}]},
        r"an image must have a number as id .*\[1\]",
    ),
    "number as name": (
        {**content(), "images": [{"id": 1, "file_name": 1, "width": 20, "height": 10}]},
        "and a text as file_name",
    ),
    "name with NUL": (
        json.dumps({**content(), "images": [{"id": 1, "file_name": "1\0.png", "width": 20, "height": 10}]}),
        r"and a text as file_name.*1\\x00\.png",
    ),
    "dict of annotations": ({**content(), "annotations": {}}, "'annotations' must be a list of dicts"),
}


@pytest.mark.parametrize(("data", "message"), NOT_COCO.values(), ids=NOT_COCO)
def test_file_that_is_not_coco_format(tmp_path, data, message):
    with pytest.raises(ValueError, match=rf"(?s)train\.json is not .*{message}"):
        read(tmp_path, copy.deepcopy(data))


def used(folder, data, *, trained: bool) -> dict[str, str]:
    """What is said of the objects there are, by kind."""
    findings = read(folder, data).check_use(trained=trained)
    return {finding.kind: (finding.severity, str(finding)) for finding in findings}


@pytest.mark.parametrize("change", [{"iscrowd": 1}, {"bbox": [1, 1, 0, 4]}, {"segmentation": [[1, 1, 2, 2]]}])
def test_nothing_to_learn(tmp_path, change):
    data = content()
    for x in data["annotations"][1:]:
        x.update(change)
    assert "nothing to learn" not in used(tmp_path, data, trained=True)
    data["annotations"][0].update(change)
    severity, text = used(tmp_path, data, trained=True)["nothing to learn"]
    assert severity is Severity.ERROR and "Set iscrowd to 0 for single objects" in text


def test_nothing_to_evaluate(tmp_path):
    data = content()
    for x in data["annotations"]:
        x["iscrowd"] = 1
    severity, text = used(tmp_path, data, trained=False)["nothing to evaluate"]
    assert severity is Severity.WARNING and "AP will be nan" in text and "--val-fraction" in text


def test_a_class_without_objects(tmp_path):
    data = content()
    for x in data["annotations"]:
        x["iscrowd"] = int(x["category_id"] == 2)
    severity, text = used(tmp_path, data, trained=False)["unused category"]
    assert severity is Severity.WARNING and "their AP is nan" in text and "2 'class 1'" in text
    assert "--val-fraction" in text
    assert "no object to learn from: 2 'class 1'" in used(tmp_path, data, trained=True)["unused category"][1]
