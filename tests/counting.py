"""A training whose weight counts its steps, evaluated after every second one with values that a test chooses."""

from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from detectron2.engine import HookBase, SimpleTrainer
from torch import nn

from dab_detr.checkpoint.checkpointer import DABDETRCheckpointer
from dab_detr.engine.checkpoints import PeriodicCheckpointer
from dab_detr.engine.evaluation import Evaluation
from dab_detr.engine.stopping import Stopped, Stopping

METRIC = "bbox/AP"


class Linear(nn.Linear):
    """A model that can be saved and loaded; what its loss is does not matter."""

    num_classes = 1

    def forward(self, x):
        return {"loss": super().forward(x).mean()}


class Count(nn.Module):
    """A step of SGD with learning rate 1 adds 1 to the weight."""

    num_classes = 1

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, _):
        return {"loss": -self.weight.sum()}


def count(
    folder: Path,
    values: Sequence[float],
    hooks: Callable[[nn.Module, Stopping], list[HookBase]] = lambda *_: [],
    *,
    resume: bool = False,
    killed_at: int | None = None,
    **watched: str,
) -> SimpleTrainer:
    """Two steps for each of `values`, with a checkpoint after each; the n-th value is that of a weight of 2n.

    killed_at: the number of the evaluation during which it is.
    """
    model = Count()
    trainer = SimpleTrainer(model, [None] * 2 * len(values), torch.optim.SGD(model.parameters(), lr=1.0))
    checkpointer = DABDETRCheckpointer(model, str(folder), trainer=trainer)

    def evaluate() -> dict:
        number = int(model.weight.item()) // 2
        if number == killed_at:
            raise KeyboardInterrupt
        trainer.evaluated.append(number)
        return {"bbox": {"AP": values[number - 1]}}

    trainer.evaluated, trainer.stopped = [], False
    stopping = Stopping(checkpointer)
    periodic = PeriodicCheckpointer(checkpointer, 1, max_to_keep=4)
    trainer.register_hooks([periodic, Evaluation(2, evaluate, watched=watched), *hooks(model, stopping), stopping])
    if resume:
        checkpointer.resume_or_load("", resume=True)
    try:
        trainer.train(trainer.iter + 1 if resume else 0, 2 * len(values))
    except Stopped:
        trainer.stopped = True
    except KeyboardInterrupt:
        assert killed_at
    return trainer
