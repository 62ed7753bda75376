"""Results of a study without its runs, and runs that take seconds."""

from pathlib import Path

import train_net
from benchmarks.study import running
from benchmarks.study.presets import Preset
from tiny import lazy_opts

CURVE = [[100, 10.0], [200, 30.0], [300, 40.0]]


def result(row: str, seed: int, shift: float = 0.0) -> dict:
    """A result of a run without the run."""
    return {
        "row": row,
        "seed": seed,
        "curve": [[step, value + shift] for step, value in CURVE],
        "command": "python train_net.py",
        "commit": "abc",
        "machine": "a machine",
        "seconds": 60,
    }


def smallest(folder: Path) -> Preset:
    """Two steps of small models, on data that this writes into the folder."""
    others = ("train.output_dir", "train.max_iter", "train.eval_period")
    small = tuple(x for x in lazy_opts(folder) if not x.startswith(others))
    return Preset(configs="coco", steps=2, evaluations=1, core_seeds=1, overrides=small)


def trains_for_real(monkeypatch) -> list:
    """Let the study train in this process. Return the list that each training's arguments are added to."""
    calls = []

    def train(arguments, log, threads, gpu=None):
        calls.append(arguments)
        return train_net.main(arguments)

    monkeypatch.setattr(running, "train", train)
    return calls
