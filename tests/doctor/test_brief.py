"""The short check before a training: the faults that have to stop it at once."""

import re
import time

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from hypothesis import given, settings
from hypothesis import strategies as st

from coco_files import annotation, content, without, write
from dab_detr.data.coco import dataset_dicts, dataset_name
from dab_detr.doctor import brief, reading
from dab_detr.doctor.brief import check_datasets
from dab_detr.doctor.places import files_present, place_hint

pytestmark = pytest.mark.usefixtures("catalogs")


def check(folder, train, val=None, num_classes=None) -> int:
    splits = {"train": train, "val": content() if val is None else val}
    names = [dataset_name(**write(folder, split, data)) for split, data in splits.items()]
    return check_datasets(names[0], names[1], num_classes)


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


def test_missing_image_folder(tmp_path):
    files = write(tmp_path, "train", content())
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


def test_the_check_is_quick_and_reads_a_file_once(tmp_path, monkeypatch):
    data = content()
    data["annotations"] = [{**data["annotations"][i % 6], "id": i} for i in range(5000)]
    reads, read_text = [], reading.read_text
    monkeypatch.setattr(reading, "read_text", lambda path: reads.append(path) or read_text(path))
    files = write(tmp_path, "train", data)
    start, name = time.process_time(), dataset_name(**files)
    assert check_datasets(name, [name, name], 3) == 3
    assert time.process_time() - start < 1
    assert reads == [str(files["annotations"])]


def test_a_link_to_itself_beside_the_pictures_is_no_picture(tmp_path):
    (tmp_path / "a.png").touch()
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "folder").symlink_to("folder")
    found = files_present(str(tmp_path), ["a.png", "loop.png", "b.png"])
    assert found == {"a.png": True, "loop.png": False, "b.png": False}
    assert place_hint(str(tmp_path), ["b.png"]) == ""
