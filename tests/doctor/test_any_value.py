"""Any JSON value in any field: the doctor finds an error, or training and evaluation read the dataset."""

import copy
import json
from contextlib import suppress

import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from coco_files import content, write
from dab_detr.data.augmentation import detr_augmentations
from dab_detr.data.coco import dataset_dicts, dataset_name
from dab_detr.data.mapper import NamingMapper
from dab_detr.doctor.brief import check_datasets
from dab_detr.doctor.mend import mend
from dab_detr.doctor.reading import read_content
from dab_detr.evaluation.coco import coco_evaluator

pytestmark = pytest.mark.usefixtures("catalogs")

ODD = [0, -1, 1.5, 2**31, 2**53 + 1, 2**63, 10**400, 1e308, -1e308, 5e-324, "", "a", "1", "\ud800", "\0", True, None]
MASKS = [
    {"counts": [0, 200], "size": [10, 20]},
    {"counts": [-5, 205], "size": [10, 20]},
    {"counts": [0, 200], "size": [-10, -20]},
    {"counts": "0", "size": [10, 20]},
    {"counts": [2**40], "size": [2**20, 2**20]},
    [[1, 1, 5, 1, 5, 5]],
    [["a"] * 6],
    [[None] * 8],
]
scalars = st.sampled_from(ODD) | st.integers(-30, 30) | st.floats() | st.text(max_size=4)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=2)
)
boxes = st.lists(scalars, min_size=4, max_size=4)
places = st.one_of(
    st.tuples(
        st.just("annotations"),
        st.integers(0, 5),
        st.sampled_from(
            ["id", "image_id", "category_id", "bbox", "area", "iscrowd", "ignore", "segmentation", "keypoints"]
        ),
    ),
    st.tuples(st.just("images"), st.integers(0, 3), st.sampled_from(["id", "file_name", "width", "height"])),
    st.tuples(st.just("categories"), st.integers(0, 2), st.sampled_from(["id", "name"])),
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("any")
    write(folder, "val", content())
    return folder


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(places, values | boxes | st.sampled_from(MASKS)), min_size=1, max_size=2))
@example(changes=[(("annotations", 1, "segmentation"), MASKS[6])])
@example(changes=[(("annotations", 1, "bbox"), [0, 0, 1e308, 1e308])])
@example(changes=[(("images", 1, "width"), 2**63)])
def test_what_the_doctor_lets_pass_can_be_used(folder, changes):
    data = content()
    for (part, number, key), value in copy.deepcopy(changes):
        data[part][number][key] = value
    (folder / "val.json").write_text(json.dumps(data))
    files = {"annotations": folder / "val.json", "images": folder / "val"}
    try:
        name = dataset_name(**files)
        check_datasets(name, [name], None)
        check_datasets(name, [], None)
    except ValueError:
        return
    train(name)
    evaluate(name, str(folder))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(places, values | boxes | st.sampled_from(MASKS)), min_size=1, max_size=2))
def test_any_file_can_be_mended_or_says_why_not(folder, changes):
    data = content()
    for (part, number, key), value in copy.deepcopy(changes):
        data[part][number][key] = value
    (folder / "val.json").write_text(json.dumps(data))
    with suppress(ValueError):
        mended, _ = mend(read_content(folder / "val.json")[0], str(folder / "val"))
        assert json.dumps(mended) and mended["images"] and mended["annotations"]


def train(name: str) -> None:
    augmentations = detr_augmentations(short_side=[32], max_side=64, crop_short_side=[16], crop_side=[8, 12])
    mapper = NamingMapper(is_train=True, augmentations=augmentations, image_format="RGB")
    np.random.seed(0)
    for record in dataset_dicts(name=name):
        instances = mapper(record)["instances"]
        assert torch.isfinite(instances.gt_boxes.tensor).all()
        assert ((instances.gt_classes >= 0) & (instances.gt_classes < 3)).all()


def evaluate(name: str, output_dir: str) -> None:
    evaluator = coco_evaluator(dataset_name=name, output_dir=output_dir)
    evaluator.reset()
    for record in dataset_dicts(name=name):
        found = Instances((10, 20))
        found.pred_boxes, found.scores = Boxes(torch.tensor([[1.0, 1, 9, 5]])), torch.tensor([0.5])
        found.pred_classes = torch.tensor([0])
        evaluator.process([record], [{"instances": found}])
    assert "AP" in evaluator.evaluate()["bbox"]


@pytest.fixture(autouse=True)
def no_pictures(monkeypatch):
    """Pictures take longer than everything else."""
    for name in ("draw_precision_recall", "draw_confusions", "save"):
        monkeypatch.setattr(f"dab_detr.evaluation.report.{name}", lambda *args: None)
