"""When a training evaluates."""

import logging
from collections.abc import Callable, Mapping

from detectron2.engine import hooks
from omegaconf import DictConfig

BEST, EARLY_STOPPING = "train.best.metric", "train.early_stopping.metric"

logger = logging.getLogger(__name__)


def watched_metrics(settings: DictConfig) -> dict[str, str]:
    """What decides on the best checkpoint and on early stopping, where these are on, by the keys of the config.

    Raises ValueError for a metric that evaluations will not have.
    """
    watched = {
        BEST: settings.get("best", {}).get("metric"),
        EARLY_STOPPING: settings.early_stopping.metric if settings.get("early_stopping", {}).get("patience") else None,
    }
    watched = {key: metric for key, metric in watched.items() if metric}
    for key, metric in watched.items():
        if metric.startswith("ema/") and not settings.ema.enabled:
            raise ValueError(f"{key} is {metric!r}, which needs train.ema.enabled=True")
        if "validation/" in metric and not settings.validation_loss:
            raise ValueError(f"{key} is {metric!r}, which needs train.validation_loss=True")
    return watched


class Evaluation(hooks.EvalHook):
    """Detectron2's EvalHook that, resumed from a checkpoint of just before an evaluation, evaluates first.

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
