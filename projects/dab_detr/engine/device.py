"""Device, precision and data-parallel copies of a model."""

import logging
import os

import torch
from detectron2.engine.defaults import create_ddp_model
from detectron2.utils import comm
from torch import nn

logger = logging.getLogger(__name__)


def available_device(wanted: str) -> str:
    """The device `wanted`, or "cpu" with a warning if it is CUDA and the machine has none.

    Raises ValueError for a name that torch does not know.
    """
    try:
        kind = torch.device(wanted).type
    except RuntimeError as error:
        raise ValueError(f"the device must be like cuda, cuda:1 or cpu, got {wanted!r}") from error
    if kind != "cuda" or torch.cuda.is_available():
        return wanted
    logger.warning("There is no CUDA device: running on the CPU instead of %r.", wanted)
    return "cpu"


def usable_cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def distribute(model: nn.Module, **ddp) -> nn.Module:
    """Wrap the model in DistributedDataParallel if there are several processes; `ddp` are its arguments."""
    if comm.get_world_size() > 1 and next(model.parameters()).device.type == "cpu":
        ddp["device_ids"] = None
    return create_ddp_model(model, **ddp)


def precision_of(amp: bool, device: str) -> torch.dtype | None:
    """The type for automatic mixed precision, or None if it is off or the device does not support it."""
    if not amp:
        return None
    if torch.device(device).type == "cuda":
        return torch.float16
    logger.warning("Automatic mixed precision needs CUDA: training in single precision on %r.", device)
    return None
