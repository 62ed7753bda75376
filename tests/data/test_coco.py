"""Datasets registered from their files alone."""

import gzip
import json
import re
import time

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from coco_files import content, write
from dab_detr.data import coco
from dab_detr.data.annotations import categories_of, read_categories
from dab_detr.data.coco import dataset_dicts, dataset_name

pytestmark = pytest.mark.usefixtures("catalogs")


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
    assert coco.name_of_files("/data/train.json", "/data/images") == "train_f4752101"  # in any process


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


def test_missing_annotation_file(tmp_path):
    files = write(tmp_path, "train", content())
    with pytest.raises(ValueError, match=r"annotation file \S+none\.json does not exist"):
        dataset_name(annotations=tmp_path / "none.json", images=files["images"])
    with pytest.raises(ValueError, match=r"is a folder; .*it holds train\.json"):
        dataset_name(annotations=tmp_path, images=files["images"])


def test_registration_checks_nothing_but_the_categories(tmp_path):
    data = {**content(), "images": [{"id": [1]}], "annotations": "none"}
    (tmp_path / "train.json").write_text(json.dumps(data))
    name = dataset_name(annotations=tmp_path / "train.json", images=tmp_path)
    assert MetadataCatalog.get(name).thing_classes == ["class 0", "class 1", "class 2"]
    (tmp_path / "train.json").write_text(json.dumps({**data, "categories": [{"id": "1", "name": "a"}]}))
    with pytest.raises(ValueError, match="ids of categories must be whole numbers"):
        dataset_name(annotations=tmp_path / "train.json", images=tmp_path)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "cp1252", "latin-1"])
@pytest.mark.parametrize("compress", [bytes, gzip.compress], ids=["plain", "gzip"])
def test_categories_are_read_in_any_encoding(tmp_path, encoding, compress):
    data = content()
    data["categories"][1]["name"] = "café ½"
    (tmp_path / "a.json").write_bytes(compress(json.dumps(data, ensure_ascii=False).encode(encoding)))
    assert read_categories(tmp_path / "a.json") == {1: "class 0", 2: "café ½", 3: "class 2"}


def test_a_file_without_categories_says_what_it_has(tmp_path):
    (tmp_path / "a.json").write_text('{"images": [], "shapes": []}')
    with pytest.raises(ValueError, match="'categories' is missing or empty .*'images', 'shapes'.* LabelMe"):
        read_categories(tmp_path / "a.json")


def test_reading_costs_what_parsing_costs(tmp_path):
    """The best of alternating runs, so that a busy machine slows both."""
    data = content()
    data["annotations"] = [{**data["annotations"][i % 6], "id": i} for i in range(20_000)]
    path = write(tmp_path, "train", data)["annotations"]
    ours, parsing = [], []
    for _ in range(7):
        categories_of.cache_clear()
        start = time.process_time()
        read_categories(path)
        ours.append(time.process_time() - start)
        start = time.process_time()
        with open(path, encoding="utf-8") as file:
            json.load(file)
        parsing.append(time.process_time() - start)
    assert min(ours) < 1.5 * min(parsing)
