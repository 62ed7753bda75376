"""Detectron2's habits on the engine: `Trainer(cfg)`, `resume_or_load`, `train`, and parts changed in a subclass."""

import pytest
import torch

from dab_detr.config import load_yacs
from dab_detr.engine.reproducibility import Reproducibility
from dab_detr.trainer import Trainer
from tiny import YAML, yaml_opts


@pytest.fixture
def cfg(tmp_path):
    cfg, _ = load_yacs(str(YAML), yaml_opts(tmp_path))
    cfg.freeze()
    return cfg


def test_a_training_goes_on_with_its_whole_state(cfg, tmp_path):
    first = Trainer(cfg)
    first.resume_or_load(resume=False)
    first.train()
    assert {"AP", "AP50"} <= set(first.results["bbox"])
    assert (tmp_path / "output/model_final.pth").is_file()
    second = Trainer(cfg)
    second.resume_or_load(resume=True)
    assert second.start_iter == 4
    states = [x.loop.optimizer.state_dict()["state"] for x in (first, second)]
    assert states[0].keys() == states[1].keys() and len(states[0]) > 10
    for key, state in states[0].items():
        assert all(torch.equal(value, states[1][key][name]) for name, value in state.items())


def test_a_subclass_changes_its_parts(cfg):
    class Mine(Trainer):
        @classmethod
        def build_optimizer(cls, cfg, model):
            return torch.optim.SGD(model.parameters(), lr=cfg.optimizer.lr)

        def hooks(self):
            return [x for x in super().hooks() if not isinstance(x, Reproducibility)]

    trainer = Mine(cfg)
    trainer.resume_or_load(resume=False)
    trainer.train()
    assert isinstance(trainer.loop.optimizer, torch.optim.SGD) and trainer.loop.iter == 4
    assert "bbox" in Mine.test(trainer.cfg, trainer.model)
