"""When a training evaluates."""

import logging
from collections.abc import Callable, Mapping

from detectron2.engine import hooks

logger = logging.getLogger(__name__)


class Evaluation(hooks.EvalHook):
    """Detectron2's EvalHook that, resumed from a checkpoint of just before an evaluation, evaluates first.

    So a kill during an evaluation loses neither it nor the steps before it.

    needed: metrics that other hooks wait for, by the config keys that name them.
    """

    def __init__(self, period: int, function: Callable[[], dict], *, needed: Mapping[str, str] | None = None):
        super().__init__(period, function)
        self.needed, self.last = needed or {}, 0  # iterations before the last evaluation

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
        for key, metric in self.needed.items():
            if metric not in found and any("/" in name for name in found):
                logger.warning("%s: there is no metric %r; there are %s", key, metric, sorted(found))
