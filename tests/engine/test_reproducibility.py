"""A training that is killed and goes on is to the bit one that is not. `KILLS=20 pytest ...` kills it more often."""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.engine import TrainerBase

from dab_detr.data.loader import TrainLoader
from dab_detr.engine import reproducibility as module
from dab_detr.engine.reproducibility import Reproducibility, reproducibility

PICTURES = [{"index": i, "width": 20 + 20 * (i % 3), "height": 30} for i in range(7)]


def loader(seed: int = 1, batch: int = 2, **options) -> TrainLoader:
    return TrainLoader(dataset=PICTURES, mapper=dict, total_batch_size=batch, seed=seed, **options)


class Training(TrainerBase):
    """Remembers which images and which random numbers its steps had."""

    def __init__(self, data: TrainLoader):
        super().__init__()
        self.batches, self.seen = iter(data), {}  # as Detectron2 0.5 does it: before a checkpoint is loaded
        self.register_hooks([reproducibility(data)])

    def run_step(self):
        batch = [(x["index"], x["seed"]) for x in next(self.batches)]
        self.seen[self.iter] = batch, random.random(), np.random.rand(), torch.rand(1).item()

    def run(self, start: int, stop: int, state: dict | None = None) -> "Training":
        if state:
            self.load_state_dict(state)
        self.train(start, stop)
        return self


@pytest.mark.parametrize("options", [{}, {"aspect_ratio_grouping": True}, {"num_workers": 2}, {"seed": -1}])
@pytest.mark.parametrize("stop", [1, 4, 11])
def test_goes_on_with_the_same_images_and_random_numbers(stop, options):
    torch.manual_seed(stop)
    whole = Training(loader(**options))
    first = whole.run(0, stop).state_dict()
    expected = dict(whole.seen)
    rest = Training(loader(**{**options, "num_workers": 0})).run(stop, 15, first).seen
    again = Training(loader(**{**options, "seed": first["hooks"]["Reproducibility"]["seed"]})).run(0, 15).seen
    assert expected | rest == again
    assert len({seen[1:] for seen in again.values()}) == 15


def test_images_that_wait_for_their_batch_are_state_too():
    """Of grouped batches the first visits left out would be others than those of the batches before."""
    whole = Training(loader(batch=3, aspect_ratio_grouping=True)).run(0, 9).seen
    order = [x for i in range(9) for x, _ in whole[i][0]]
    plain = [x for i in range(9) for x, _ in Training(loader(batch=3)).run(0, 9).seen[i][0]]
    assert order != plain
    assert all(len({PICTURES[x]["width"] > 30 for x, _ in batch}) == 1 for batch, *_ in whole.values())


def test_processes_differ(monkeypatch):
    drawn = []
    for rank in (0, 1):
        monkeypatch.setattr(module.comm, "get_rank", lambda rank=rank: rank)
        drawn.append(Training(loader()).run(0, 1).seen[0][1:])
    assert drawn[0] != drawn[1]


def test_a_drawn_seed_is_kept(monkeypatch):
    monkeypatch.setattr(module.comm, "shared_random_seed", iter([3, 4]).__next__)
    first = Training(loader(seed=-1)).run(0, 2)
    second = loader(seed=-1)
    Training(second).run(2, 3, first.state_dict())
    assert second.seed == 3


@pytest.mark.parametrize(
    ("changed", "said"),
    [({"seed": 2}, "seed: 1, now 2"), ({"batch": 4}, "total_batch_size: 2, now 4"), ({}, None)],
)
def test_what_is_not_to_the_bit_is_said(changed, said, caplog):
    state = Training(loader()).run(0, 1).state_dict()
    Training(loader(**changed)).run(1, 2, state)
    assert (f"not be bit-identical to an uninterrupted one ({said})" in caplog.text) == bool(said)


def test_a_loader_that_begins_anew_is_said(caplog):
    assert reproducibility([[]]) is None
    assert "its data starts from the beginning" in caplog.text
    assert isinstance(reproducibility(loader()), Reproducibility)


def test_kills():
    """Two kills, in the midst of steps, evaluations or checkpoints; `KILLS=20` for more."""
    kills = os.environ.get("KILLS", "2")
    script = Path(__file__).parents[1] / "kills.py"
    paths = [str(script.parent), str(script.parents[1]), os.environ.get("PYTHONPATH", "")]
    run = subprocess.run(
        [sys.executable, "-W", "ignore", str(script), "--kills", kills],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert f"{kills} kills in " in run.stdout
