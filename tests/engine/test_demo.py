"""The demo's config: what it builds, and that train_net.py runs it on a few generated pictures."""

import json
from collections import defaultdict

import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.transforms import RandomFlip
from detectron2.solver import LRMultiplier

import train_net
from dab_detr.data.shapes import SHAPES_CLASSES, generate_shapes
from tiny import CONFIGS, arguments

DEMO = CONFIGS / "demo_shapes.py"
FEW = {"num_train": 8, "num_val": 4}
ITERATIONS = 30


@pytest.fixture
def datasets(tmp_path, monkeypatch):
    """The folder of Detectron2's datasets; the catalogs are left as they were."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    before = set(DatasetCatalog), set(MetadataCatalog)
    yield tmp_path / "datasets"
    for catalog, names in zip((DatasetCatalog, MetadataCatalog), before, strict=True):
        for name in set(catalog) - names:
            catalog.remove(name)


@pytest.fixture
def cfg():
    return LazyConfig.load(str(DEMO))


def test_to_load_the_config_writes_no_data(datasets, cfg):
    assert not datasets.exists()


def test_model_is_trained_from_scratch(cfg):
    model = instantiate(cfg.model)
    assert cfg.train.init_checkpoint == ""
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert {type(x) for x in model.backbone.modules() if "Norm" in type(x).__name__} == {torch.nn.BatchNorm2d}
    assert model.backbone.output_shape()[cfg.model.neck.feature].stride == 8
    assert model.num_classes == len(SHAPES_CLASSES)
    assert sum(x.numel() for x in model.parameters()) == 1_291_901


def test_learning_rate_warms_up_and_drops(cfg):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = LRMultiplier(optimizer, instantiate(cfg.lr_multiplier), cfg.train.max_iter)
    factors = []
    for iteration in (0, 0.025, 0.06, 0.79, 0.81, 0.99):
        schedule.last_epoch = round(iteration * cfg.train.max_iter)
        factors += schedule.get_lr()
    assert factors == pytest.approx([0.001, 0.5, 1.0, 1.0, 0.1, 0.1], abs=0.01)


def test_both_splits_are_of_one_dataset(cfg):
    train, val = (dict(cfg.dataset[split].name) for split in ("train", "val"))
    assert (train.pop("split"), val.pop("split")) == ("train", "val")
    assert train == val
    assert "sides" not in train and "image_size" not in train  # 10 to 56 pixels in 96 x 96, the default


def test_pictures_are_flipped_for_training_only(cfg):
    train, test = (instantiate(cfg.dataloader[name].mapper) for name in ("train", "test"))
    assert [type(x) for x in train.augmentations.augs] == [RandomFlip]
    assert not test.augmentations.augs


def test_trains_evaluates_and_draws(datasets, tmp_path):
    output = tmp_path / "output"
    splits = [f"dataset.{split}.name.{key}={value}" for split in ("train", "val") for key, value in FEW.items()]
    results = train_net.train(
        arguments(
            "--config-file", DEMO, *splits, f"train.output_dir={output}", f"train.max_iter={ITERATIONS}",
            "train.eval_period=0", "train.log_period=1", "train.preview.num_images=2", "train.device=cpu",
            "dataloader.num_workers=0", "dataloader.train.total_batch_size=4",
        )
    )  # fmt: skip
    assert generate_shapes(datasets / "shapes", **FEW).is_dir()
    assert {f"AP-{name}" for name in SHAPES_CLASSES} | {"AP", "AP50"} <= set(results["bbox"])
    assert 0 <= results["bbox"]["AP"] <= results["bbox"]["AP50"] <= 100
    for written in ("model_final.pth", "curves.png", "preview/contact_sheet.png"):
        assert (output / written).is_file()
    series = defaultdict(list)
    for line in (output / "metrics.json").read_text().splitlines():
        for key, value in json.loads(line).items():
            series[key].append(value)
    losses = series["total_loss"]
    assert len(losses) == ITERATIONS
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
