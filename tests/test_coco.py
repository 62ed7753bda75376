"""Datasets from their files: registration, and the faults that have to stop a training at once."""

import copy
import json
import re
import time

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import Boxes, BoxMode, Instances
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dab_detr.data import annotations as annotations_module
from dab_detr.data import coco
from dab_detr.data.coco import check_datasets, dataset_dicts, dataset_name


@pytest.fixture(autouse=True)
def catalogs():
    """The catalogs as they were before the test."""
    known = set(DatasetCatalog), set(MetadataCatalog)
    yield
    for catalog, names in zip((DatasetCatalog, MetadataCatalog), known, strict=True):
        for name in set(catalog) - names:
            catalog.remove(name)


def content(ids=(1, 2, 3), num_images=4) -> dict:
    """Images of 20 x 10 pixels with as many objects as their number, from none."""
    annotations = [
        {"image_id": 10 * image, "category_id": ids[k % len(ids)], "bbox": [k, 1, 8, 4], "area": 32, "iscrowd": 0}
        for image in range(num_images)
        for k in range(image)
    ]
    return {
        "images": [{"id": 10 * i, "file_name": f"{i}.png", "width": 20, "height": 10} for i in range(num_images)],
        "annotations": [{"id": 100 + i, **annotation} for i, annotation in enumerate(annotations)],
        "categories": [{"id": i, "name": f"class {number}"} for number, i in enumerate(ids)],
    }


def write(folder, split: str, data) -> dict:
    """Write a split; returns what names it."""
    images, annotations = folder / split, folder / f"{split}.json"
    images.mkdir(parents=True, exist_ok=True)
    for image in data["images"] if isinstance(data, dict) else []:
        if isinstance(image, dict) and "file_name" in image:
            Image.new("RGB", (20, 10)).save(images / image["file_name"])
    annotations.write_text(data if isinstance(data, str) else json.dumps(data))
    return {"annotations": annotations, "images": images}


def check(folder, train, val=None, num_classes=None) -> int:
    splits = {"train": train, "val": content() if val is None else val}
    names = [dataset_name(**write(folder, split, data)) for split, data in splits.items()]
    return check_datasets(names[0], names[1], num_classes)


def test_files_are_registered_as_detectron2_expects(tmp_path):
    files = write(tmp_path, "train", content(ids=(7, 3)))
    name = dataset_name(**files)
    assert re.fullmatch(r"train_[0-9a-f]{8}", name)
    metadata = MetadataCatalog.get(name)
    assert metadata.thing_classes == ["class 1", "class 0"]  # in the order of their ids
    assert metadata.thing_dataset_id_to_contiguous_id == {3: 0, 7: 1}
    assert metadata.json_file == str(files["annotations"]) and metadata.image_root == str(files["images"])
    assert metadata.evaluator_type == "coco"
    assert len(DatasetCatalog.get(name)) == 4


def test_name_is_the_same_every_time(tmp_path, monkeypatch):
    files = write(tmp_path, "train", content())
    name = dataset_name(**files)
    assert dataset_name(**files) == name == dataset_name(name=name)
    monkeypatch.chdir(tmp_path)
    assert dataset_name(annotations="train.json", images="./train/") == name
    assert dataset_name(annotations="train.json", images=tmp_path) != name
    assert coco._name_of("/data/train.json", "/data/images") == "train_f4752101"  # in any process


def test_name_of_ones_own(tmp_path):
    files, others = (write(tmp_path, split, content()) for split in ("train", "val"))
    assert dataset_name(name="cells", **files) == dataset_name(name="cells", **files) == "cells"
    with pytest.raises(ValueError, match=r"'cells' is taken, by .*train\.json"):
        dataset_name(name="cells", **others)
    with pytest.raises(ValueError, match="'coco_2017_val' is taken"):
        dataset_name(name="coco_2017_val", **others)


def test_changed_file_is_registered_anew(tmp_path):
    name = dataset_name(**write(tmp_path, "train", content()))
    assert dataset_name(**write(tmp_path, "train", content(ids=(1, 2, 3, 4)))) == name
    assert len(MetadataCatalog.get(name).thing_classes) == 4
    assert dataset_dicts(name=name)[0]["annotations"] == []


def test_unknown_name_lists_close_ones():
    with pytest.raises(ValueError, match="'coco_2017_vla'.*did you mean coco_2017_val"):
        dataset_name(name="coco_2017_vla")
    with pytest.raises(ValueError, match="'qqqqqq'; registered are "):
        dataset_dicts(name="qqqqqq")
    assert dataset_name(name="coco_2017_val") == "coco_2017_val"


def test_incomplete_dataset(tmp_path):
    with pytest.raises(ValueError, match="annotations is a.json, images is not given"):
        dataset_name(annotations="a.json")
    with pytest.raises(ValueError, match="images is folder, annotations is not given"):
        dataset_name(name="mine", images="folder")
    with pytest.raises(ValueError, match="needs a name, or its annotations"):
        dataset_name()


def test_dicts_are_detectron2s_and_keep_empty_images(tmp_path):
    files = write(tmp_path, "train", content(ids=(5, 9)))
    dicts = dataset_dicts(**files)
    assert [len(x["annotations"]) for x in dicts] == [0, 1, 2, 3]
    assert dicts[1]["file_name"] == str(files["images"] / "1.png") and dicts[1]["image_id"] == 10
    assert dicts[2]["annotations"][1] == {
        "iscrowd": 0,
        "bbox": [1, 1, 8, 4],
        "category_id": 1,
        "bbox_mode": BoxMode.XYWH_ABS,
    }
    assert [len(x["annotations"]) for x in dataset_dicts(**files, filter_empty=True)] == [1, 2, 3]


def test_perfect_detections_have_ap_100(tmp_path):
    """The registration is what COCOEvaluator needs, also before the dataset was loaded."""
    name = dataset_name(**write(tmp_path, "val", content(ids=(4, 8))))
    evaluator = COCOEvaluator(name, distributed=False, use_fast_impl=False)  # that needs a compiled extension
    evaluator.reset()
    for x in dataset_dicts(name=name):
        instances = Instances((10, 20))
        boxes = [BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS) for a in x["annotations"]]
        instances.pred_boxes = Boxes(torch.tensor(boxes).reshape(-1, 4).float())
        instances.pred_classes = torch.tensor([a["category_id"] for a in x["annotations"]], dtype=torch.long)
        instances.scores = torch.ones(len(boxes))
        evaluator.process([x], [{"instances": instances}])
    assert evaluator.evaluate()["bbox"]["AP"] == pytest.approx(100)


@settings(max_examples=10, deadline=None)
@given(ids=st.lists(st.integers(0, 1000), min_size=1, max_size=8, unique=True))
def test_ids_with_gaps_in_any_order_are_no_fault(tmp_path_factory, ids):
    folder = tmp_path_factory.mktemp("gaps")
    assert check(folder, content(ids), content(ids), len(ids)) == len(ids)
    dicts = dataset_dicts(annotations=folder / "train.json", images=folder / "train")
    assert {a["category_id"] for x in dicts for a in x["annotations"]} <= set(range(len(ids)))
    original = content(ids)["annotations"]
    expected = [sorted(ids).index(a["category_id"]) for a in original]
    assert [a["category_id"] for x in dicts for a in x["annotations"]] == expected


def test_good_datasets_pass(tmp_path):
    assert check(tmp_path, content()) == 3
    assert check(tmp_path, content(), num_classes=3) == 3
    test_images = content()
    del test_images["annotations"]  # like COCO's test-dev
    assert check(tmp_path, content(), test_images) == 3


def test_several_datasets_to_evaluate_on(tmp_path):
    train, val, other = (
        dataset_name(**write(tmp_path, split, content(ids=ids)))
        for split, ids in (("train", (1, 2)), ("val", (1, 2)), ("other", (1, 2, 3)))
    )
    assert check_datasets(train, [val, val], 2) == 2
    with pytest.raises(ValueError, match=r"train\.json and of \S+other\.json differ"):
        check_datasets(train, (val, other), 2)


def test_num_classes_that_differs(tmp_path):
    expected = r"model\.num_classes is 80, but \S+train\.json has 3 classes .*set model\.num_classes=3"
    with pytest.raises(ValueError, match=expected):
        check(tmp_path, content(), num_classes=80)


def annotation(data, index, **changes):
    data["annotations"][index].update(changes)


def without(data, key, *indices):
    for i in indices:
        del data["annotations"][i][key]


def rename(data):
    data["categories"][1]["name"] = "other"


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


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize(("spoil", "message"), FAULTS.values(), ids=FAULTS)
def test_fault_is_named(tmp_path, split, spoil, message):
    data = {"train": content(), "val": content()}
    spoil(data[split])
    with pytest.raises(ValueError, match=rf"(?m)^- \S+{split}\.json: .*{message}") as error:
        check(tmp_path, **data)
    assert str(error.value).count("\n- ") == (2 if message.startswith("category ids") else 1)


@pytest.mark.parametrize("key", ["area", "iscrowd"])
def test_what_only_evaluation_needs(tmp_path, key):
    data = content()
    without(data, key, 1)
    assert check(tmp_path / "train", data) == 3
    with pytest.raises(ValueError, match=rf"val\.json: 1 annotations have no '{key}' \(set it to .*\): 101"):
        check(tmp_path / "val", content(), data)


def test_train_without_annotations(tmp_path):
    data = content()
    del data["annotations"]
    with pytest.raises(ValueError, match=r"train\.json: it has no annotations at all, only images"):
        check(tmp_path, data)


@pytest.mark.parametrize(
    ("val", "message"),
    [
        (content(ids=(0, 1, 2)), "looks like a shift by one, .* 1, 2, 3 in the first and 0, 1, 2 in the second"),
        (content(ids=(2, 3, 4)), "looks like a shift by one, .* 1, 2, 3 in the first and 2, 3, 4 in the second"),
        (content(ids=(1, 2)), r"only \S+train\.json has 3 'class 2'"),
        (content(ids=(1, 2, 3, 8)), r"only \S+val\.json has 8 'class 3'"),
    ],
)
def test_categories_that_differ(tmp_path, val, message):
    with pytest.raises(ValueError, match=rf"categories of \S+train\.json and of \S+val\.json differ: .*{message}"):
        check(tmp_path, content(), val)


def test_category_of_another_name(tmp_path):
    val = content()
    rename(val)
    with pytest.raises(ValueError, match="differ: 2 is 'class 1' and 'other'"):
        check(tmp_path, content(), val)


def test_all_faults_are_told_at_once(tmp_path):
    train, val = content(), content()
    annotation(train, 0, category_id=9)
    annotation(val, 1, image_id=77)
    rename(val)
    with pytest.raises(ValueError) as error:
        check(tmp_path, train, val, num_classes=80)
    assert [line[:1] for line in str(error.value).splitlines()] == ["t", "-", "-", "-", "-"]


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
        dataset_name(**write(tmp_path, "train", copy.deepcopy(data)))


def test_missing_files(tmp_path):
    files = write(tmp_path, "train", content())
    with pytest.raises(ValueError, match=r"annotation file \S+none\.json does not exist"):
        dataset_name(annotations=tmp_path / "none.json", images=files["images"])
    with pytest.raises(ValueError, match=r"is a folder; .*it holds train\.json"):
        dataset_name(annotations=tmp_path, images=files["images"])
    name = dataset_name(annotations=files["annotations"], images=tmp_path / "none")
    with pytest.raises(ValueError, match=r"image folder \S+none \(of \S+train\.json\) does not exist"):
        check_datasets(name, name, None)


def test_missing_images(tmp_path):
    files = write(tmp_path, "train", content())
    too_high = dataset_name(annotations=files["annotations"], images=tmp_path)
    with pytest.raises(ValueError, match=r"lacks 4 of 4 images .*0\.png.*; they are found from \S+train$"):
        check_datasets(too_high, too_high, None)
    (files["images"] / "0.png").unlink()
    name = dataset_name(**files)
    with pytest.raises(ValueError, match=r"lacks 1 of 4 images looked for, which \S+train\.json names: 0\.png$"):
        check_datasets(name, name, None)


def test_builtin_names_need_no_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert check_datasets("coco_2017_train", "coco_2017_val", 80) == 80
    with pytest.raises(ValueError, match=r"model\.num_classes is 3, but datasets\S+ has 80 classes"):
        check_datasets("coco_2017_train", "coco_2017_val", 3)
    with pytest.raises(ValueError, match=r"instances_train2017\.json and of \S+val\.json differ"):
        check_datasets("coco_2017_train", dataset_name(**write(tmp_path, "val", content())), None)


def test_dataset_of_a_function_is_known_by_its_metadata(tmp_path):
    DatasetCatalog.register("by_function", list)
    with pytest.raises(ValueError, match=r"MetadataCatalog\.get\('by_function'\)\.thing_classes"):
        check_datasets("by_function", "by_function", None)
    MetadataCatalog.get("by_function").thing_classes = ["class 0", "class 1", "class 2"]
    assert check_datasets("by_function", dataset_name(**write(tmp_path, "val", content())), None) == 3


def test_check_is_quick_and_reads_each_file_once(tmp_path, monkeypatch):
    data = content()
    data["annotations"] = [{**data["annotations"][i % 6], "id": i} for i in range(5000)]
    reads = []
    load = json.load
    monkeypatch.setattr(annotations_module.json, "load", lambda file: reads.append(file.name) or load(file))
    files = write(tmp_path, "train", data)
    start = time.perf_counter()
    name = dataset_name(**files)
    assert check_datasets(name, [name, name], 3) == 3
    assert time.perf_counter() - start < 1
    assert reads == [str(files["annotations"])]
