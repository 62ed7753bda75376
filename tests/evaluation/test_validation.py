"""Validation losses: right, in the same pass as AP, and without a trace in the model."""

import copy
import logging
import math

import pytest
import torch
from detectron2.config import instantiate
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators, inference_on_dataset
from detectron2.utils.events import EventStorage
from omegaconf import OmegaConf

import train_net
from dab_detr.evaluation import validation
from dab_detr.evaluation.validation import ValidationLosses, with_objects
from dab_detr.modeling.mode import evaluating
from samples import golden_model, random_input
from tiny import LAZY, arguments, configured, lazy_opts

OBJECTS = [3, 0, 1]


@pytest.fixture
def model():
    return golden_model().train()


@pytest.fixture
def loader():
    return [[random_input(64, 96, objects)] for objects in OBJECTS]


class Detections(DatasetEvaluator):
    """What AP would be made of."""

    def reset(self):
        self.found = []

    def process(self, inputs, outputs):
        self.found += [x["instances"].pred_boxes.tensor for x in outputs]


def losses_of(model, loader) -> dict:
    return inference_on_dataset(model, loader, DatasetEvaluators([ValidationLosses(model)]))["validation"]


def test_losses_are_those_of_training_without_dropout_and_denoising(model, loader):
    """One image as the criterion has it; all of them weighted by their objects, of which none counts as one."""
    found = losses_of(model, loader)
    expected = dict.fromkeys(found, 0.0)
    with torch.no_grad(), evaluating(model):
        for (x,), weight in zip(loader, (3, 1, 1), strict=True):
            images = model.preprocess([x])
            padding = torch.zeros(1, *images.tensor.shape[-2:], dtype=torch.bool)
            losses = model.criterion(model.detect(model.backbone(images.tensor), padding), model.targets([x]))
            for name, loss in (losses | {"total_loss": sum(losses.values())}).items():
                expected[name] += weight * loss.item() / 5
    assert set(found) == {"total_loss", *losses}
    assert found == pytest.approx(expected, rel=1e-5)


def test_it_is_one_pass_and_detections_are_the_same(model, loader):
    calls = []
    model.backbone.register_forward_hook(lambda *_: calls.append(1))
    both, alone = Detections(), Detections()
    inference_on_dataset(model, loader, DatasetEvaluators([both, ValidationLosses(model)]))
    assert len(calls) == len(loader)
    inference_on_dataset(model, loader, alone)
    assert all(torch.equal(a, b) for a, b in zip(both.found, alone.found, strict=True))


def test_the_model_is_as_before(model, loader):
    """Its weights and statistics, the mode of each module, its hooks; and training's storage has no trace either."""
    model.neck.eval()
    state, modes = copy.deepcopy(model.state_dict()), [x.training for x in model.modules()]
    with EventStorage() as storage, evaluating(model):
        losses_of(model, loader)
    assert [x.training for x in model.modules()] == modes
    assert all(torch.equal(x, state[name]) for name, x in model.state_dict().items())
    assert not storage.latest() and not model.decoder._forward_hooks
    assert all(x.grad is None for x in model.parameters())


def test_processes_are_added_up(model, loader, monkeypatch):
    whole = losses_of(model, loader)
    shares = []
    evaluator = ValidationLosses(model)
    for part in (loader[:1], loader[1:], []):  # a process may have no image
        evaluator.reset()
        with torch.no_grad(), evaluating(model):
            for inputs in part:
                evaluator.process(inputs, model(inputs))
        shares.append((dict(evaluator.sums), evaluator.weight))
    monkeypatch.setattr(validation.comm, "gather", lambda mine: shares)
    assert evaluator.evaluate()["validation"] == pytest.approx(whole, rel=1e-6)
    monkeypatch.setattr(validation.comm, "is_main_process", lambda: False)
    evaluator.reset()
    assert evaluator.evaluate() is None


def test_objects_are_asked_of_the_mapper(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    cfg = configured("--config-file", LAZY, *lazy_opts(tmp_path))
    inputs = [x for batch in instantiate(with_objects(cfg.dataloader.test)) for x in batch]
    assert [len(x["instances"]) for x in inputs] == [0, 1, 2, 3]
    assert "Augmentations used in training" not in caplog.text
    plain = [x for batch in instantiate(cfg.dataloader.test) for x in batch]
    assert all(torch.equal(a["image"], b["image"]) for a, b in zip(inputs, plain, strict=True))
    assert "instances" not in plain[0]


def test_a_mapper_that_cannot():
    with pytest.raises(ValueError, match=r"train\.validation_loss needs dataloader\.test\.mapper with is_train"):
        with_objects(OmegaConf.create({"mapper": {"augmentations": []}}))


def test_in_training(tmp_path):
    opts = [*lazy_opts(tmp_path), "train.validation_loss=True", "train.ema.enabled=True", "train.eval_period=2"]
    args = arguments("--config-file", LAZY, *opts)
    results = train_net.train(args)
    assert set(results) == {"bbox", "validation", "ema"} and set(results["ema"]) == {"bbox", "validation"}
    assert all(math.isfinite(x) for x in results["validation"].values())
    written = (tmp_path / "output/metrics.json").read_text()
    assert '"validation/total_loss"' in written and '"ema/validation/total_loss"' in written
