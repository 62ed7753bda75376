"""Datasets from their files: registration, and the faults that have to stop a training at once."""

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

from coco_files import annotation, as_floats, content, without, write
from dab_detr.data import annotations as annotations_module
from dab_detr.data import coco
from dab_detr.data.coco import dataset_dicts, dataset_name
from dab_detr.doctor import brief
from dab_detr.doctor.brief import check_datasets


@pytest.fixture(autouse=True)
def catalogs():
    """The catalogs as they were before the test."""
    known = set(DatasetCatalog), set(MetadataCatalog)
    yield
    for catalog, names in zip((DatasetCatalog, MetadataCatalog), known, strict=True):
        for name in set(catalog) - names:
            catalog.remove(name)


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
    assert dataset_name(name="coco_2017_val") == dataset_name(default="coco_2017_val") == "coco_2017_val"


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


@pytest.mark.parametrize("data", [content(ids=(4, 8)), as_floats(content(ids=(4, 8)))], ids=["good", "floats"])
def test_perfect_detections_have_ap_100(tmp_path, data):
    """The registration is what COCOEvaluator needs, also before the dataset was loaded."""
    assert check(tmp_path, data, data) == 2
    name = dataset_name(**write(tmp_path, "val", data))
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
    expected = r"model\.num_classes is 80, but \S+train\.json has 3 classes .*set model\.num_classes to 3"
    with pytest.raises(ValueError, match=expected):
        check(tmp_path, content(), num_classes=80)
    name = dataset_name(annotations=tmp_path / "train.json", images=tmp_path / "train")
    with pytest.raises(ValueError, match=r"MODEL\.CLASSES is 80, .*: set MODEL\.CLASSES to 3"):
        check_datasets(name, name, 80, key="MODEL.CLASSES")


def rename(data):
    data["categories"][1]["name"] = "other"


@pytest.mark.parametrize("split", ["train", "val"])
def test_fault_is_told_with_its_file(tmp_path, split):
    data = {"train": content(), "val": content()}
    annotation(data[split], 2, category_id=9)
    with pytest.raises(
        ValueError, match=rf"\n- \S+{split}\.json: 1 annotations have a category_id that .*102 \(2\.png\)$"
    ) as error:
        check(tmp_path, **data)
    assert str(error.value).count("\n- ") == 1


def test_what_only_evaluation_needs(tmp_path):
    data = content()
    without(data, "iscrowd", 1)
    assert check(tmp_path / "train", data) == 3
    with pytest.raises(ValueError, match=r"val\.json: 1 annotations have no 'iscrowd'"):
        check(tmp_path / "val", content(), data)


def test_train_without_annotations(tmp_path):
    data = content()
    del data["annotations"]
    with pytest.raises(ValueError, match=r"train\.json: it has no annotations at all, only images"):
        check(tmp_path, data)
    name = dataset_name(**write(tmp_path, "test", data))
    assert check_datasets(name, name, None) == 3, "to evaluate on alone it will do"


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


def test_missing_files(tmp_path):
    files = write(tmp_path, "train", content())
    with pytest.raises(ValueError, match=r"annotation file \S+none\.json does not exist"):
        dataset_name(annotations=tmp_path / "none.json", images=files["images"])
    with pytest.raises(ValueError, match=r"is a folder; .*it holds train\.json"):
        dataset_name(annotations=tmp_path, images=files["images"])
    name = dataset_name(annotations=files["annotations"], images=tmp_path / "none")
    with pytest.raises(ValueError, match=r"train\.json: image folder \S+none does not exist"):
        check_datasets(name, name, None)


def test_missing_images(tmp_path):
    files = write(tmp_path, "train", content())
    too_high = dataset_name(annotations=files["annotations"], images=tmp_path)
    with pytest.raises(ValueError, match=r"4 images are not in .*0\.png.*; they are found from \S+train$"):
        check_datasets(too_high, too_high, None)
    (files["images"] / "0.png").unlink()
    name = dataset_name(**files)
    with pytest.raises(ValueError, match=r"train\.json: 1 images are not in the .*: image 0 \(0\.png\)$"):
        check_datasets(name, name, None)


def test_warnings_go_to_the_log_and_stop_nothing(tmp_path, caplog):
    train = content()
    annotation(train, 0, bbox=[0, 1, 30, 4], area=120)
    names = [dataset_name(**write(tmp_path, split, data)) for split, data in (("train", train), ("val", content()))]
    assert check_datasets(*names, None, num_queries=2) == 3
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert len(warnings) == len(set(warnings)) == 3  # that of the queries for each of the two
    assert re.search(r"train\.json: 1 boxes reach over .*: annotation 100 \(1\.png\) \[0, 1, 30, 4\]", warnings[0])
    assert re.search(r"train\.json: 1 images have more objects than .* \(2\).*: image 30 \(3\.png\)", warnings[1])


def test_images_of_a_wrong_size_stop_a_training(tmp_path):
    data = content()
    data["images"][2]["width"] = 30
    with pytest.raises(ValueError, match=r"another size .*image 20 \(2\.png\) is 20x10, annotated as 30x10"):
        check(tmp_path, data)


def test_remote_images_are_only_sampled(tmp_path, monkeypatch):
    limits = []
    monkeypatch.setattr(brief, "check_files", lambda root, images, opened: limits.append(opened) or [])
    name = dataset_name(annotations=write(tmp_path, "train", content())["annotations"], images="s3://bucket/train")
    check_datasets(name, name, None)
    assert set(limits) == {8}


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


def test_registration_and_check_are_quick_and_read_a_file_once_each(tmp_path, monkeypatch):
    data = content()
    data["annotations"] = [{**data["annotations"][i % 6], "id": i} for i in range(5000)]
    reads = []
    load = json.load
    monkeypatch.setattr(annotations_module.json, "load", lambda file: reads.append(file.name) or load(file))
    files = write(tmp_path, "train", data)
    start, name = time.process_time(), dataset_name(**files)
    assert check_datasets(name, [name, name], 3) == 3
    assert time.process_time() - start < 1
    assert reads == [str(files["annotations"])] * 2
