"""Training in one call, for notebooks and for train_net.py."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from .config import load
from .engine.best import BEST
from .engine.run_folder import claim, inputs_of, release
from .engine.setup import configure
from .engine.training import run
from .inference import Predictor
from .visualization.curves import read_metrics


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """The result of a training.

    output_dir: the folder of its checkpoints, metrics and pictures.
    metrics: the last evaluation, as numbers by task and name, such as `metrics["bbox"]["AP"]`; empty without one.
    """

    output_dir: Path
    metrics: dict

    @property
    def best_checkpoint(self) -> Path | None:
        """The checkpoint with the best evaluation; without evaluations, the last one. None if nothing was saved."""
        last = self.output_dir / "last_checkpoint"
        names = [f"{BEST}.pth", *([last.read_text().strip()] if last.is_file() else [])]
        return next((self.output_dir / x for x in names if (self.output_dir / x).is_file()), None)

    @cached_property
    def evaluations(self) -> list[dict[str, float]]:
        """A row for each evaluation: its `iteration` and all its metrics. `pandas.DataFrame` takes it as it is."""
        rows: dict[int, dict[str, float]] = {}
        for name, points in read_metrics(self.output_dir / "metrics.json").items():
            if name.split("/")[0] in ("bbox", "ema", "validation"):
                for iteration, value in points:
                    rows.setdefault(iteration, {"iteration": iteration})[name] = value
        return [rows[iteration] for iteration in sorted(rows)]

    def predictor(self, **options) -> Predictor:
        """A predictor of the best checkpoint. options: those of `Predictor.from_checkpoint`, such as `device`.

        Raises ValueError if the training saved no checkpoint.
        """
        if self.best_checkpoint is None:
            raise ValueError(f"there is no checkpoint in {self.output_dir}: the training saved none")
        return Predictor.from_checkpoint(self.best_checkpoint, **options)


def train(
    config: str | os.PathLike,
    overrides: Sequence[str] = (),
    *,
    resume: bool = False,
    overwrite: bool = False,
    eval_only: bool = False,
) -> TrainingResult:
    """Train the model of a config in this process.

    config: a LazyConfig or a yacs yaml of Detectron2.
    overrides: `a.b=value` on the config, such as "dataset.root=my/folder".
    resume: continue from the last checkpoint in the output folder.
    overwrite: train in a folder that holds a training. The earlier files move to a folder inside it first.
    eval_only: evaluate without training.

    Raises ValueError, before time is spent, if the config, the overrides, the data or the output folder must be
    corrected. Raises TrainingError if a training that has begun cannot continue, and KeyboardInterrupt after Ctrl-C,
    with everything saved.
    """
    args = argparse.Namespace(config_file=os.fspath(config), opts=list(overrides), resume=resume, eval_only=eval_only)
    cfg = load(config, overrides)
    if eval_only:
        return TrainingResult(metrics=run(configure(cfg, args), args), output_dir=Path(cfg.train.output_dir))
    claim(cfg.train.output_dir, resume=resume, overwrite=overwrite, inputs=inputs_of(cfg, config))
    try:
        return TrainingResult(metrics=run(configure(cfg, args), args), output_dir=Path(cfg.train.output_dir))
    finally:
        release(cfg.train.output_dir)
