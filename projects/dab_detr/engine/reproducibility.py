"""Resume a training as if it had never stopped."""

import logging
import random
from collections.abc import Iterable

import numpy as np
import torch
from detectron2.engine import HookBase
from detectron2.utils import comm

from ..data.loader import TrainLoader
from ..data.seeding import seed_of

logger = logging.getLogger(__name__)


class Reproducibility(HookBase):
    """Derive all randomness from the seed and the iteration, so that a checkpoint only keeps the seed.

    Every step seeds the random numbers (Python's, NumPy's, torch's on every device) again, and the data continues with
    the batch of the first iteration. On a CPU, a resumed training is then bit-identical.
    """

    def __init__(self, loader: TrainLoader):
        self.loader = loader

    def state_dict(self) -> dict:
        loader = self.loader
        return {
            "seed": loader.seed,
            "images": len(loader.visits),
            "total_batch_size": loader.total_batch_size,
            "processes": comm.get_world_size(),
            "grouped": loader.groups is not None,
        }

    def load_state_dict(self, state: dict) -> None:
        changed = [f"{key}: {state[key]}, now {now}" for key, now in self.state_dict().items() if state[key] != now]
        if changed:
            logger.warning(
                "The resumed training will not be bit-identical to an uninterrupted one (%s). "
                "Keeping the checkpoint's seed.",
                "; ".join(changed),
            )
        self.loader.seed = state["seed"]

    def before_train(self) -> None:
        self.loader.start = self.trainer.start_iter

    def before_step(self) -> None:
        seed = seed_of(self.loader.seed, comm.get_rank(), self.trainer.iter)
        random.seed(seed)
        np.random.seed(seed)
        torch.manual_seed(seed)


def reproducibility(loader: Iterable) -> Reproducibility | None:
    """Return the hook, or warn and return None for a loader that can only start at its first batch."""
    if isinstance(loader, TrainLoader):
        return Reproducibility(loader)
    logger.warning(
        "dataloader.train is not a dab_detr.data.loader.TrainLoader: after a resume its data starts from the beginning."
    )
    return None
