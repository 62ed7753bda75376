"""Anchors that start from the boxes of the training data: in a new training, below the weights that it loads."""

import pytest
import torch
from detectron2.config import instantiate

from dab_detr.engine.anchor_start import start_anchors
from dab_detr.engine.training import Training, run
from tiny import LAZY, arguments, configured, lazy_opts

FROM_BOXES = "model.queries.from_boxes=True"


def anchors(model) -> torch.Tensor:
    return torch.cat([model.queries.centre, model.queries.size], -1).sigmoid().detach()


def started(tmp_path, *opts) -> tuple[torch.Tensor, torch.Tensor]:
    """The anchors before and after the start of a training."""
    cfg = configured("--config-file", LAZY, *lazy_opts(tmp_path), *opts)
    model = instantiate(cfg.model)
    before = anchors(model)
    assert Training(cfg, model=model).start(False) == 0
    return before, anchors(model)


def test_a_training_starts_its_anchors_from_its_boxes(tmp_path):
    """The data has fewer distinct boxes than the model has queries."""
    before, after = started(tmp_path, FROM_BOXES)
    moved = (before != after).any(1)
    number = int(moved.sum())
    assert 0 < number < 10 and moved[:number].all()
    assert (after[:number] > 0.0009).all() and (after[:number] < 0.9991).all()
    assert f"{number} anchors start as the k-means of the boxes" in (tmp_path / "output/log.txt").read_text()


def test_without_the_setting_anchors_stay_random(tmp_path):
    before, after = started(tmp_path)
    assert before.equal(after)


def test_weights_that_are_loaded_win(tmp_path):
    cfg = configured("--config-file", LAZY, *lazy_opts(tmp_path / "a"))
    trained = instantiate(cfg.model)
    torch.save({"model": trained.state_dict()}, tmp_path / "trained.pth")
    _, after = started(tmp_path / "b", FROM_BOXES, f"train.init_checkpoint={tmp_path / 'trained.pth'}")
    assert after.equal(anchors(trained))


def test_a_resumed_training_keeps_its_anchors(tmp_path):
    opts = ["--config-file", LAZY, *lazy_opts(tmp_path), FROM_BOXES]
    run(configured(*opts), arguments(*opts))
    cfg = configured(*opts, "train.max_iter=5", "--resume")
    model = instantiate(cfg.model)
    assert Training(cfg, model=model).start(True) == 4
    last = torch.load(tmp_path / "output/model_final.pth", weights_only=True)["model"]
    assert model.queries.centre.equal(last["queries.centre"])


def test_without_data_there_are_no_boxes(tmp_path):
    cfg = configured("--config-file", LAZY, *lazy_opts(tmp_path), FROM_BOXES)
    with pytest.raises(ValueError, match="model.queries.from_boxes needs boxes: give dataset.root"):
        start_anchors(instantiate(cfg.model), None)
