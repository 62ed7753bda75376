"""Evaluations: what they compute, and when a training makes them."""

import json
import logging
import math
from collections.abc import Callable, Mapping
from pathlib import Path

from detectron2.config import instantiate
from detectron2.engine import hooks
from detectron2.evaluation import DatasetEvaluators, inference_on_dataset, print_csv_format
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils import comm
from omegaconf import DictConfig
from torch import nn

from ..evaluation.validation import ValidationLosses, with_objects
from ..export.detector import ExportedDetector
from ..modeling.mode import evaluating
from ..modeling.optimization import optimize_for_inference
from .ema import WeightAverage
from .progress import Shown

BEST, EARLY_STOPPING = "train.best.metric", "train.early_stopping.metric"

logger = logging.getLogger(__name__)


def evaluate(cfg: DictConfig, model: nn.Module, average: WeightAverage | None = None) -> dict:
    """Metrics of `dataloader.evaluator` on `dataloader.test` by task; empty but in the main process.

    With `train.validation_loss` they have the losses as the task "validation". The metrics of an average are "ema".
    """
    if "evaluator" not in cfg.dataloader:
        return {}
    averaged = {} if average is None else {"ema": evaluate_weights(of_average(cfg), average.module, "ema/")}
    return {**evaluate_weights(cfg, model), **averaged}


def evaluate_weights(cfg: DictConfig, model: nn.Module, prefix: str = "") -> dict:
    """The metrics of one model by task. `prefix` is put before the names of the tasks in the log."""
    optimized = cfg.train.optimized_evaluation and not isinstance(model, ExportedDetector)
    detector = optimize_for_inference(model) if optimized else model
    loader, evaluators = cfg.dataloader.test, [instantiate(cfg.dataloader.evaluator)]
    if cfg.train.validation_loss:
        loader, evaluators = with_objects(loader), [*evaluators, ValidationLosses(detector)]
    loader = instantiate(loader)
    if comm.is_main_process():
        loader = Shown(loader, "evaluation of the moving average" if prefix else "evaluation")
    with evaluating(detector):
        results = inference_on_dataset(detector, loader, DatasetEvaluators(evaluators))
    if comm.is_main_process():
        print_csv_format({f"{prefix}{task}": metrics for task, metrics in results.items()})
    return results


def of_average(cfg: DictConfig) -> DictConfig:
    """The config with another folder for the evaluator's files, and with results that are named as the average's."""
    cfg = cfg.copy()
    evaluator = cfg.dataloader.evaluator
    if "output_dir" in evaluator:
        evaluator.output_dir = f"{evaluator.output_dir}_ema"
    if "weights" in evaluator:
        evaluator.weights = "the moving average of the weights (EMA)"
    return cfg


def save_results(path: Path, checkpoint: str, results: Mapping) -> None:
    """Append the metrics of one evaluation to a file, as one line of JSON; numbers that do not exist are null."""
    metrics = {key: value if math.isfinite(value) else None for key, value in flatten_results_dict(results).items()}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"checkpoint": checkpoint, **metrics}) + "\n")


def watched_metrics(settings: DictConfig) -> dict[str, str]:
    """Metrics that the best checkpoint and early stopping wait for, by their config keys.

    Raises ValueError for a metric that evaluations will not have.
    """
    best, stopping = settings.best, settings.early_stopping
    watched = {BEST: best and best.metric, EARLY_STOPPING: stopping.patience and stopping.metric}
    watched = {key: metric for key, metric in watched.items() if metric}
    for key, metric in watched.items():
        if metric.startswith("ema/") and not settings.ema.enabled:
            raise ValueError(f"{key} is {metric!r}, which needs train.ema.enabled=True")
        if "validation/" in metric and not settings.validation_loss:
            raise ValueError(f"{key} is {metric!r}, which needs train.validation_loss=True")
    return watched


class Evaluation(hooks.EvalHook):
    """Detectron2's EvalHook that evaluates first if it resumes from a checkpoint just before an evaluation.

    So a kill during an evaluation loses neither it nor the steps before it.

    watched: metrics that other hooks wait for, by the config keys that name them.
    """

    def __init__(self, period: int, function: Callable[[], dict], *, watched: Mapping[str, str] | None = None):
        super().__init__(period, function)
        self.watched, self.last = watched or {}, 0  # iterations before the last evaluation

    def state_dict(self) -> dict:
        return {"last": self.last}

    def load_state_dict(self, state: dict) -> None:
        self.last = state["last"]

    def before_train(self) -> None:
        start = self.trainer.start_iter
        if self._period > 0 and start % self._period == 0 and self.last < start < self.trainer.max_iter:
            self.trainer.storage.iter = start - 1
            self._do_eval()

    def _do_eval(self) -> None:
        super()._do_eval()
        storage = self.trainer.storage
        self.last = storage.iter + 1
        found = {name for name, (_, iteration) in storage.latest().items() if iteration == storage.iter}
        for key, metric in self.watched.items():
            if metric not in found and any("/" in name for name in found):
                logger.warning("%s: there is no metric %r; there are %s", key, metric, sorted(found))
