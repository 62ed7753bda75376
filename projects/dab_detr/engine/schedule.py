"""Length of a training in iterations or epochs, and warm-up of its learning rate."""

import logging
from collections.abc import Collection

from detectron2.config import instantiate
from detectron2.solver import WarmupParamScheduler
from fvcore.common.param_scheduler import ParamScheduler
from omegaconf import DictConfig, OmegaConf

logger = logging.getLogger(__name__)


def count_in_epochs(cfg: DictConfig, overridden: Collection[str]) -> None:
    """Turn `train.epochs`, if set, into `train.max_iter`, with an evaluation and a checkpoint each epoch.

    Periods among the overrides stay. An epoch has as many full batches as the images make. Afterwards `train.epochs` is
    None, because the config has iterations instead.

    Raises ValueError for a number that is not positive, and if `train.max_iter` is given too.
    """
    epochs = cfg.train.epochs
    if epochs is None:
        return
    if epochs <= 0:
        raise ValueError(f"train.epochs must be positive, got {epochs}")
    if "train.max_iter" in overridden:
        raise ValueError("train.epochs and train.max_iter are both given: leave out one of them")
    images = len(instantiate(cfg.dataloader.train.dataset))
    epoch = max(1, images // cfg.dataloader.train.total_batch_size)
    cfg.train.max_iter, cfg.train.epochs = max(1, round(epochs * epoch)), None
    for key in {"train.eval_period", "train.checkpointer.period"}.difference(overridden):
        OmegaConf.update(cfg, key, epoch)
    logger.info("An epoch is %d iterations (%d images), %s epochs are %d.", epoch, images, epochs, cfg.train.max_iter)


def check_iterations(cfg: DictConfig, overridden: Collection[str]) -> None:
    """Make checkpoints as frequent as evaluations, unless they already are or are `overridden`.

    Raises ValueError for a training without iterations.
    """
    iterations, period = cfg.train.max_iter, cfg.train.eval_period
    if not isinstance(iterations, int) or iterations < 1:
        raise ValueError(f"train.max_iter must be a whole number from 1 on, got {iterations!r}")
    if "train.checkpointer.period" not in overridden and period > 0:
        cfg.train.checkpointer.period = min(cfg.train.checkpointer.period, period)


def with_warmup(
    scheduler: ParamScheduler, warmup_iters: int, max_iter: int, warmup_factor: float = 0.001
) -> ParamScheduler:
    """Start the scheduler with `warmup_iters` iterations in which the rate rises linearly from `warmup_factor` times
    itself.

    Raises ValueError unless there are fewer of them than of all iterations.
    """
    if not 0 <= warmup_iters < max_iter:
        raise ValueError(
            f"train.warmup_iters must be from 0 to less than train.max_iter ({max_iter}), got {warmup_iters}"
        )
    if not warmup_iters:
        return scheduler
    return WarmupParamScheduler(scheduler, warmup_factor=warmup_factor, warmup_length=warmup_iters / max_iter)
