"""The yacs way: the Trainer's own parts. That it trains is shown with train_net.py."""

import pytest
import torch
from detectron2.data import transforms as T
from detectron2.engine import hooks

from dab_detr.engine import trainer
from dab_detr.engine.best import BestCheckpoint
from dab_detr.engine.description import DescribeResults
from dab_detr.engine.evaluation import Evaluation
from dab_detr.engine.optimizer import ClippedAdamW
from dab_detr.engine.reproducibility import Reproducibility
from dab_detr.engine.stopping import Stopping
from dab_detr.engine.trainer import Trainer
from dab_detr.engine.watchdog import Watchdog
from dab_detr.visualization.curves import CurvesHook
from dab_detr.visualization.preview import PreviewHook
from tiny import YAML, arguments, yaml_opts


@pytest.fixture
def configured(tmp_path):
    return lambda *opts: trainer.configure(arguments("--config-file", YAML, *yaml_opts(tmp_path), *opts))


def test_configure(configured, tmp_path):
    cfg = configured()
    assert cfg.MODEL.DAB_DETR.NUM_CLASSES == 3 and cfg.is_frozen()
    assert cfg.DATASETS.TRAIN[0].startswith("train_") and cfg.DATASETS.TEST[0].startswith("val_")
    assert "NUM_CLASSES: 3" in (tmp_path / "output/config.yaml").read_text()


def test_cpu_where_there_is_no_cuda(configured, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert configured("MODEL.DEVICE", "cuda").MODEL.DEVICE == "cpu"


def test_optimizer(configured):
    cfg = configured("SOLVER.BACKBONE_MULTIPLIER", 0.5, "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 0.25)
    model = Trainer.build_model(cfg)
    optimizer = Trainer.build_optimizer(cfg, model)
    assert isinstance(optimizer, ClippedAdamW) and optimizer.max_norm == 0.25
    assert [x["lr"] for x in optimizer.param_groups] == [1e-4, 5e-5]
    assert {x["weight_decay"] for x in optimizer.param_groups} == {1e-4}
    assert sum(len(x["params"]) for x in optimizer.param_groups) == sum(x.requires_grad for x in model.parameters())


def test_optimizer_without_clipping(configured):
    cfg = configured("SOLVER.CLIP_GRADIENTS.ENABLED", False)
    assert type(Trainer.build_optimizer(cfg, Trainer.build_model(cfg))) is torch.optim.AdamW


def test_clipping_by_value_is_refused(configured):
    cfg = configured("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "value")
    with pytest.raises(ValueError, match="CLIP_TYPE must be 'norm', got 'value'"):
        Trainer.build_optimizer(cfg, Trainer.build_model(cfg))


@pytest.mark.parametrize("crop", [True, False])
def test_augmentation(configured, crop, monkeypatch):
    seen = []
    monkeypatch.setattr(trainer, "NamingMapper", lambda **kwargs: seen.append(kwargs))
    monkeypatch.setattr(trainer, "TrainLoader", lambda **kwargs: None)
    Trainer.build_train_loader(configured("INPUT.CROP.ENABLED", crop))
    kinds = [type(x) for x in seen[0]["augmentations"]]
    assert kinds == [T.RandomApply] * crop + [T.ResizeShortestEdge, T.RandomFlip]
    assert seen[0]["image_format"] == "RGB"


def test_images_to_evaluate_are_named_too(configured, monkeypatch):
    monkeypatch.setattr(trainer, "build_detection_test_loader", lambda cfg, name, mapper: mapper)
    mapper = Trainer.build_test_loader(configured(), "any")
    assert isinstance(mapper, trainer.NamingMapper) and not mapper.is_train


def test_train_loader_keeps_images_without_objects(configured):
    cfg = configured("SOLVER.IMS_PER_BATCH", 4)
    batches = iter(Trainer.build_train_loader(cfg))
    assert {x["image_id"] for _ in range(2) for x in next(batches)} == {0, 10, 20, 30}


def test_order_of_hooks(configured):
    assert [type(x) for x in Trainer(configured())._hooks] == [
        Reproducibility,
        hooks.IterationTimer,
        hooks.LRScheduler,
        hooks.PeriodicCheckpointer,
        Evaluation,
        BestCheckpoint,
        DescribeResults,
        Stopping,
        PreviewHook,
        hooks.PeriodicWriter,
        CurvesHook,
        Watchdog,
    ]


def test_the_whole_state_is_restored(configured):
    cfg = configured()
    first = Trainer(cfg)
    first.train()
    second = Trainer(cfg)
    second.resume_or_load(resume=True)
    assert second.start_iter == 4
    states = [x.optimizer.state_dict()["state"] for x in (first, second)]
    assert states[0].keys() == states[1].keys() and len(states[0]) > 10
    for key, state in states[0].items():
        assert all(torch.equal(value, states[1][key][name]) for name, value in state.items())
