"""Keep the checkpoint with the best evaluation."""

import logging
import math
import operator
from collections.abc import Callable
from pathlib import Path

import torch
from detectron2.engine import HookBase
from detectron2.utils.events import EventStorage

from ..checkpoint.checkpointer import DABDETRCheckpointer
from .ema import WeightAverage

BEST = "model_best"

logger = logging.getLogger(__name__)


def better(mode: str, key: str) -> Callable[[float, float], bool]:
    """Return whether the first value of a metric is better than the second. `key` names `mode` in the config."""
    if mode not in ("max", "min"):
        raise ValueError(f"{key} must be 'max' or 'min', got {mode!r}")
    return operator.gt if mode == "max" else operator.lt


class NewValues:
    """Read each value of a metric once, as evaluations put them into the event storage."""

    def __init__(self, metric: str):
        self.metric, self.seen = metric, -1

    def next(self, storage: EventStorage) -> tuple[float, int] | None:
        """Return the value since the last call and its iteration, or None if there is no finite one."""
        value, iteration = storage.latest().get(self.metric, (math.nan, -1))
        if iteration <= self.seen:
            return None
        self.seen = iteration
        return (value, iteration) if math.isfinite(value) else None


class BestCheckpoint(HookBase):
    """Save the model as `model_best.pth` whenever an evaluation gave the best value of a metric so far.

    The best value so far is stored in the file itself. So a resumed training cannot overwrite a better checkpoint, even
    if it resumes from an earlier iteration. (Detectron2's BestCheckpointer forgets its best value, and makes the best
    checkpoint the one to resume from.)

    checkpointer: the training's checkpointer. average: the moving average of its weights, or None.
    metric: as it is called in metrics.json, e.g. "bbox/AP"; where it begins with "ema/", the file has the average in
        place of the model. mode: whether "max" or "min" is best.

    The hook must come after the one that evaluates, in the main process.
    """

    def __init__(
        self, checkpointer: DABDETRCheckpointer, average: WeightAverage | None, *, metric: str, mode: str = "max"
    ):
        weights = average.module if metric.startswith("ema/") else checkpointer.model
        self.checkpointer, self.metric = checkpointer.for_weights_of(weights), metric
        self.better, self.values = better(mode, "train.best.mode"), NewValues(metric)
        self.best: float | None = None

    def before_train(self) -> None:
        if self.trainer.start_iter > 0:
            self.best = self._value_of_file()
        self.after_step()

    def after_step(self) -> None:
        new = self.values.next(self.trainer.storage)
        if new and (self.best is None or self.better(new[0], self.best)):
            self.best, iteration = new[0], min(new[1], self.trainer.max_iter - 1)  # the last is one more
            self.checkpointer.save(BEST, last=False, iteration=iteration, best={self.metric: self.best})
            logger.info("The best %s so far, %.5g at iteration %d, is %s.pth", self.metric, self.best, iteration, BEST)

    def after_train(self) -> None:
        self.after_step()

    def _value_of_file(self) -> float | None:
        path = Path(self.checkpointer.save_dir, f"{BEST}.pth")
        try:
            best = torch.load(path, map_location="cpu", mmap=True).get("best", {}) if path.exists() else {}
        except Exception as error:  # a damaged file can raise anything
            logger.warning(
                "%s cannot be read (%s), and the next evaluation will replace it.", path, type(error).__name__
            )
            return None
        if path.exists() and self.metric not in best:
            logger.warning("%s is the best by another metric (%s), and will be replaced.", path, *best or ["unknown"])
        return best.get(self.metric)
