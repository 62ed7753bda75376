"""Experiment trackers beside Detectron2's writers: Weights & Biases and MLflow, imported only when asked for."""

import importlib
import math
import os
import re
from collections.abc import Sequence
from types import ModuleType

from detectron2.utils.events import EventWriter, get_event_storage
from detectron2.utils.file_io import PathManager

_WINDOW = 20  # the median over these iterations is sent, as by Detectron2's other writers


class _Tracker(EventWriter):
    """Send each scalar once, under its iteration. The tracker's own environment variables set name, project and
    account.
    """

    def __init__(self, output_dir: str):
        self._last = -1
        config = os.path.join(output_dir, "config.yaml")
        self._start(os.path.basename(os.path.abspath(output_dir)), config if PathManager.isfile(config) else None)

    def write(self) -> None:
        """Send the scalars since the last call."""
        news: dict[int, dict[str, float]] = {}
        latest = get_event_storage().latest_with_smoothing_hint(_WINDOW)
        for name, (value, iteration) in latest.items():
            if iteration > self._last:
                news.setdefault(iteration, {})[name] = float(value)
        for iteration in sorted(news):
            self._send(news[iteration], iteration)
            self._last = iteration

    def _start(self, name: str, config: str | None) -> None:
        raise NotImplementedError

    def _send(self, scalars: dict[str, float], iteration: int) -> None:
        raise NotImplementedError


class WandbWriter(_Tracker):
    """Weights & Biases. It uses WANDB_PROJECT, WANDB_MODE and so on. WANDB_RUN_ID with WANDB_RESUME=allow continues a
    run.
    """

    def _start(self, name: str, config: str | None) -> None:
        self._run = _imported("wandb").init(name=name)
        if config:
            self._run.save(config, base_path=os.path.dirname(config), policy="now")

    def _send(self, scalars: dict[str, float], iteration: int) -> None:
        self._run.log(scalars, step=iteration)

    def close(self) -> None:
        self._run.finish()


class MLflowWriter(_Tracker):
    """MLflow. It uses MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME. MLFLOW_RUN_ID continues a run.

    MLflow allows fewer characters in names than classes may have, and no NaN. Other characters become "_", and NaN is
    left out.
    """

    def _start(self, name: str, config: str | None) -> None:
        self._mlflow = _imported("mlflow")
        self._mlflow.start_run(run_name=name)
        if config:
            self._mlflow.log_artifact(config)

    def _send(self, scalars: dict[str, float], iteration: int) -> None:
        known = {re.sub(r"[^\w\-./ ]", "_", name): value for name, value in scalars.items() if math.isfinite(value)}
        self._mlflow.log_metrics(known, step=iteration)

    def close(self) -> None:
        self._mlflow.end_run()


TRACKERS = {"wandb": WandbWriter, "mlflow": MLflowWriter}


def check_trackers(names: Sequence[str]) -> None:
    """Raise ValueError for an unknown name and for a library that is not installed."""
    for name in names:
        if name not in TRACKERS:
            raise ValueError(f"unknown writer {name!r} in train.writers; available: {', '.join(TRACKERS)}")
        _imported(name)


def trackers(names: Sequence[str], output_dir: str) -> list[EventWriter]:
    """The writers with these names. Each has a run that is named after `output_dir` and gets the config.yaml there."""
    check_trackers(names)
    return [TRACKERS[name](output_dir) for name in names]


def _imported(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"train.writers has {name!r}, which is not installed: pip install {name}") from error
