"""The nodes that all LazyConfigs share: optimizer, loaders and keys."""

from pathlib import Path

import pytest
from detectron2.config import LazyConfig, instantiate
from detectron2.data import DatasetMapper

from dab_detr.overrides import apply_overrides
from tiny import LAZY, lazy_opts


def load():
    return LazyConfig.load(str(LAZY))


@pytest.fixture
def small(tmp_path):
    cfg = load()
    apply_overrides(cfg, lazy_opts(tmp_path))
    return cfg


def test_optimizer(small):
    small.optimizer.params.model = model = instantiate(small.model)
    optimizer = instantiate(small.optimizer)
    assert [x["lr"] for x in optimizer.param_groups] == [1e-4, pytest.approx(1e-5)]
    assert {x["weight_decay"] for x in optimizer.param_groups} == {1e-4}
    trained = {id(x) for group in optimizer.param_groups for x in group["params"]}
    assert trained == {id(x) for x in model.parameters() if x.requires_grad}
    slow = {id(x) for x in optimizer.param_groups[1]["params"]}
    assert slow == {id(x) for x in model.backbone.parameters() if x.requires_grad}


def test_train_loader(small):
    batch = next(iter(instantiate(small.dataloader.train)))
    assert len(batch) == 2
    for x in batch:
        assert x["image"].shape[0] == 3 and min(x["image"].shape[1:]) == 64
        assert len(x["instances"]) <= int(Path(x["file_name"]).stem)  # as many objects as its number, or cut off


def test_images_without_objects_are_kept(small):
    assert len(instantiate(small.dataloader.train.dataset)) == 4


def test_test_loader(small):
    loader = instantiate(small.dataloader.test)
    assert [x["image_id"] for batch in loader for x in batch] == [0, 10, 20, 30]
    assert {tuple(x["image"].shape) for batch in loader for x in batch} == {(3, 64, 128)}


def test_one_key_sets_the_workers_of_both_loaders():
    cfg = load()
    apply_overrides(cfg, ["dataloader.num_workers=7"])
    assert cfg.dataloader.train.num_workers == cfg.dataloader.test.num_workers == 7


def test_one_key_sets_the_channel_order_everywhere():
    cfg = load()
    apply_overrides(cfg, ["model.input_format=BGR"])
    mapper = instantiate(cfg.dataloader.test.mapper)
    assert isinstance(mapper, DatasetMapper) and mapper.image_format == "BGR"
    assert cfg.dataloader.train.mapper.image_format == "BGR"


def test_files_win_over_the_name(small):
    evaluator = instantiate(small.dataloader.evaluator.dataset_name)
    assert evaluator.startswith("val_")
    assert small.dataset.val.name == "coco_2017_val"
