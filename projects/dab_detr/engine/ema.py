"""The moving average of a model's weights."""

from detectron2.engine import HookBase
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from ..checkpoint.checkpointer import DABDETRCheckpointer
from .stopping import FINAL, Stopping


class WeightAverage(AveragedModel):
    """An exponential moving average of all weights and buffers, including the statistics of batch norm.

    After n updates it keeps min(decay, (1 + n) / (10 + n)) of itself: it follows the model closely at first, so that
    the initial weights soon stop mattering, even in a short training.
    """

    def __init__(self, model: nn.Module, *, decay: float):
        if not 0 < decay < 1:
            raise ValueError(f"train.ema.decay must be between 0 and 1, got {decay}")
        super().__init__(model, multi_avg_fn=self._average, use_buffers=True)
        self.decay = decay
        self.requires_grad_(False)

    def begin(self, model: nn.Module) -> None:
        """Initialize the average with the weights as they are, if it has not started."""
        if not self.n_averaged:
            self.update_parameters(model)

    def _average(self, averages: list, values: list, updates) -> None:
        n = int(updates)
        get_ema_multi_avg_fn(min(self.decay, (1 + n) / (10 + n)))(averages, values, updates)


def weight_average(model: nn.Module, *, enabled: bool = False, decay: float = 0.9998) -> WeightAverage | None:
    """The average that `train.ema` asks for, or None."""
    return WeightAverage(model, decay=decay) if enabled else None


def checkpointables(average: WeightAverage | None) -> dict[str, WeightAverage]:
    """{"ema": average} for checkpoints, or {} without one."""
    return {} if average is None else {"ema": average}


class UpdateAverage(HookBase):
    """Update the average with the weights after every step.

    The hook must come before those that save and evaluate the average, in all processes.
    """

    def __init__(self, average: WeightAverage, model: nn.Module):
        self.average, self.model = average, model

    def before_train(self) -> None:
        self.average.begin(self.model)

    def after_step(self) -> None:
        self.average.update_parameters(self.model)


class FinalAverage(HookBase):
    """Save the average alone, as `model_final_ema.pth`, when a training ends, early or not.

    The hook must come after the one that evaluates, in the main process.

    checkpointer, stopping: those of the training.
    """

    def __init__(self, average: WeightAverage, checkpointer: DABDETRCheckpointer, stopping: Stopping):
        self.checkpointer, self.stopping = checkpointer.for_weights_of(average.module), stopping

    def after_train(self) -> None:
        last = self.trainer.max_iter - 1
        if self.trainer.iter > last or self.stopping.name == FINAL:
            self.checkpointer.save(f"{FINAL}_ema", last=False, iteration=min(self.trainer.iter, last))
