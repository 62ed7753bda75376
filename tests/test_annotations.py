"""What is read of an annotation file, and the words for what is wrong with it."""

import copy
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coco_files import annotation, content, without, write
from dab_detr.data.annotations import AnnotationFile, few, read_annotations


def read(folder, data) -> AnnotationFile:
    return read_annotations(write(folder, "train", data)["annotations"])


def test_good_file(tmp_path):
    file = read(tmp_path, content(ids=(7, 3)))
    assert list(file.categories.items()) == [(3, "class 1"), (7, "class 0")]
    assert file.annotated and file.faults == file.evaluation_faults == ()
    assert file.file_names == ("0.png", "1.png", "2.png", "3.png")


def test_images_are_sampled_over_the_file(tmp_path):
    data = content()
    data["images"] = [{"id": i, "file_name": f"{i}.png", "width": 20, "height": 10} for i in range(100)]
    assert read(tmp_path, data).file_names == tuple(f"{i}.png" for i in range(0, 96, 12))


def test_test_images_have_no_annotations(tmp_path):
    data = content()
    del data["annotations"]  # like COCO's test-dev
    file = read(tmp_path, data)
    assert not file.annotated and file.faults == file.evaluation_faults == ()


def test_changed_file_is_read_again(tmp_path):
    assert len(read(tmp_path, content()).categories) == 3
    assert len(read(tmp_path, content(ids=(1, 2, 3, 4))).categories) == 4


@given(st.lists(st.integers(), max_size=12))
def test_few_tells_how_many_more(values):
    shown, _, more = few(values).partition(" and ")
    named = [int(value) for value in shown.split(", ")] if values else []
    assert named == values[:5]
    assert more == (f"{len(values) - 5} more" if len(values) > 5 else "")


FAULTS = {
    "stray category": (
        lambda x: annotation(x, 2, category_id=9),
        r"1 annotations have a category_id that is not among the categories \(1, 2, 3\): 9 in annotation 102$",
    ),
    "category as text": (lambda x: annotation(x, 0, category_id="1"), r"categories \(1, 2, 3\): '1' in annotation 100"),
    "no category": (lambda x: without(x, "category_id", 0), "not among the categories .*: None in annotation 100"),
    "categories as list": (
        lambda x: annotation(x, 0, category_id=[1]),
        r"not among the categories .*: \[1\] in annotation 100",
    ),
    "annotations from 0": (
        lambda x: [a.update(category_id=a["category_id"] - 1) for a in x["annotations"]],
        r"3 annotations .*: 0 in annotation 100, .*shift by one: every category_id \+1 would be a category",
    ),
    "annotations beyond": (
        lambda x: [a.update(category_id=a["category_id"] + 1) for a in x["annotations"]],
        "shift by one: every category_id -1 would be a category",
    ),
    "category twice": (lambda x: x["categories"].append({"id": 2, "name": "again"}), "category ids are used twice: 2"),
    "stray image": (
        lambda x: annotation(x, 1, image_id=77),
        "1 annotations are of images that do not exist: image_id 77 in annotation 101",
    ),
    "image twice": (lambda x: x["images"][0].update(id=20), "image ids are used twice: 20"),
    "annotation twice": (lambda x: annotation(x, 1, id=100), "annotation ids are used twice: 100"),
    "no annotation id": (lambda x: without(x, "id", 1), r"1 annotations have no id, the first is annotations\[1\]"),
    "none": (lambda x: x["annotations"].clear(), "it has no annotations at all"),
    "no box": (lambda x: without(x, "bbox", 0, 4), "2 annotations have no bbox .*: 100, 104"),
    "short box": (lambda x: annotation(x, 0, bbox=[1, 2, 3]), "1 annotations have no bbox"),
    "ignored": (lambda x: annotation(x, 0, ignore=1), "1 annotations have 'ignore'"),
}


@pytest.mark.parametrize(("spoil", "message"), FAULTS.values(), ids=FAULTS)
def test_fault_is_named(tmp_path, spoil, message):
    data = content()
    spoil(data)
    (fault,) = read(tmp_path, data).faults
    assert re.search(message, fault)


@pytest.mark.parametrize("key", ["area", "iscrowd"])
def test_what_only_evaluation_needs(tmp_path, key):
    data = content()
    without(data, key, 1)
    file = read(tmp_path, data)
    assert file.faults == ()
    (fault,) = file.evaluation_faults
    assert re.search(rf"^1 annotations have no '{key}' \(set it to .*\): 101$", fault)


NOT_COCO = {
    "yolo": ("0 0.5 0.5 0.1 0.2\n1 0.2 0.3 0.1 0.1\n", "JSON .*it looks like labels of YOLO"),
    "yolo config": ("path: data\ntrain: images\nnc: 3\n", r"it looks like a data\.yaml of YOLO"),
    "voc": ("<annotation><object/></annotation>", "it looks like XML of Pascal VOC"),
    "cut short": (json.dumps(content())[:-40], r"JSON \("),
    "empty": ("", "JSON"),
    "results": ([{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}], "it looks like detections"),
    "list": ([1, 2], "it is a list and not a dict"),
    "number": ("3", "it has to be a dict"),
    "labelme": ({"images": [], "shapes": []}, "list 'images' is missing or empty .* it looks like a file of LabelMe"),
    "no categories": ({**content(), "categories": []}, "list 'categories' is missing or empty"),
    "no size": ({**content(), "images": [{"id": 1, "file_name": "1.png"}]}, r"images\[0\] must have .*height.*width"),
    "text ids": ({**content(), "categories": [{"id": "1", "name": "a"}]}, "ids of categories must be whole numbers"),
    "dict of annotations": ({**content(), "annotations": {}}, "'annotations' must be a list of dicts"),
}


@pytest.mark.parametrize(("data", "message"), NOT_COCO.values(), ids=NOT_COCO)
def test_file_that_is_not_coco_format(tmp_path, data, message):
    with pytest.raises(ValueError, match=rf"(?s)train\.json is not .*{message}"):
        read(tmp_path, copy.deepcopy(data))
