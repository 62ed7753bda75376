"""The moving average of a model's weights."""

import logging

from detectron2.engine import HookBase
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

logger = logging.getLogger(__name__)


class WeightAverage(AveragedModel):
    """An exponential moving average of all weights and buffers, the statistics of batch norm among them.

    After n updates it keeps min(decay, (1 + n) / (10 + n)) of itself: it first follows the model closely, so that a
    short training too has an average of its own weights and not of those that it began with.
    """

    def __init__(self, model: nn.Module, *, decay: float):
        if not 0 < decay < 1:
            raise ValueError(f"train.ema.decay must be between 0 and 1, got {decay}")
        super().__init__(model, multi_avg_fn=self._average, use_buffers=True)
        self.decay = decay
        self.requires_grad_(False)

    def _average(self, averages: list, values: list, updates) -> None:
        n = int(updates)
        get_ema_multi_avg_fn(min(self.decay, (1 + n) / (10 + n)))(averages, values, updates)


class UpdateAverage(HookBase):
    """Takes the weights into their average after every step.

    Its place is before the hooks that save and evaluate the average.
    """

    def __init__(self, average: WeightAverage, model: nn.Module):
        self.average, self.model = average, model

    def before_train(self) -> None:
        if not self.average.n_averaged:
            if self.trainer.start_iter:
                logger.warning("The checkpoint has no average of weights: it starts from those of the model.")
            self.average.update_parameters(self.model)

    def after_step(self) -> None:
        self.average.update_parameters(self.model)
