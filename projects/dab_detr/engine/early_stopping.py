"""Early stopping."""

from detectron2.engine import HookBase

from .best import NewValues, better
from .stopping import FINAL, Stopping


class EarlyStopping(HookBase):
    """End the training when a metric has not improved in `patience` consecutive evaluations.

    metric: as it is called in metrics.json, e.g. "bbox/AP". mode: whether "max" or "min" is best.
    min_delta: the least improvement that counts.

    The hook must come after the one that evaluates, in all processes: only the main process has values, but all of
    them keep the state.
    """

    def __init__(self, stopping: Stopping, *, patience: int, metric: str, mode: str = "max", min_delta: float = 0.0):
        if patience < 1 or min_delta < 0:
            raise ValueError(
                "train.early_stopping: patience must be 1 or more (0 to not stop early) and min_delta 0 or more, "
                f"got {patience} and {min_delta}"
            )
        self.stopping, self.patience, self.metric = stopping, patience, metric
        self.better, self.values = better(mode, "train.early_stopping.mode"), NewValues(metric)
        self.margin = min_delta if mode == "max" else -min_delta
        self.best, self.since = None, 0

    def state_dict(self) -> dict:
        return {"best": self.best, "since": self.since}

    def load_state_dict(self, state: dict) -> None:
        self.best, self.since = state["best"], state["since"]

    def before_train(self) -> None:
        self.after_step()
        self._stop_if_out_of_patience()

    def after_step(self) -> None:
        new = self.values.next(self.trainer.storage)
        if new is None:
            return
        if self.best is None or self.better(new[0] - self.margin, self.best):
            self.best, self.since = new[0], 0
        else:
            self.since += 1
        self._stop_if_out_of_patience()

    def _stop_if_out_of_patience(self) -> None:
        if self.since >= self.patience:
            self.stopping.ask(
                f"{self._what_did_not_happen()} in the last {self.since} evaluations (train.early_stopping.patience)",
                name=FINAL,
            )

    def _what_did_not_happen(self) -> str:
        if not self.margin:
            return f"{self.metric} has not been better than {self.best:.5g}"
        risen, above = ("risen", "above") if self.margin > 0 else ("fallen", "below")
        margin = f"{abs(self.margin):.5g} (train.early_stopping.min_delta)"
        return f"{self.metric} has not {risen} by more than {margin} {above} {self.best:.5g}"
