"""What a model runs on: the device, how many processes, and its copies in them."""

import logging

import torch
from detectron2.engine.defaults import create_ddp_model
from detectron2.utils import comm
from torch import nn

from ..compat import LAUNCHES_ON_CPU

logger = logging.getLogger(__name__)


def available_device(wanted: str) -> str:
    """`wanted`, or "cpu" with a warning where that is CUDA and the machine has none."""
    if torch.device(wanted).type != "cuda" or torch.cuda.is_available():
        return wanted
    logger.warning("There is no CUDA device: running on the CPU instead of %r.", wanted)
    return "cpu"


def check_processes(processes: int, machines: int = 1) -> None:
    """Raises ValueError where Detectron2's launcher cannot start so many processes on each of so many machines."""
    gpus = torch.cuda.device_count()
    if processes * machines <= 1:
        return
    if gpus == 0 and not LAUNCHES_ON_CPU:
        raise ValueError(
            f"--num-gpus {processes}: there is no GPU, and the installed Detectron2 can start several processes only "
            "on GPUs (its main branch can on CPUs too); leave out --num-gpus and --num-machines"
        )
    if 0 < gpus < processes:
        raise ValueError(f"--num-gpus {processes}: this machine has {gpus}")


def distribute(model: nn.Module, **ddp) -> nn.Module:
    """The model, in DistributedDataParallel where there are several processes; `ddp` are arguments of that."""
    if comm.get_world_size() > 1 and next(model.parameters()).device.type == "cpu":
        ddp["device_ids"] = None
    return create_ddp_model(model, **ddp)


def precision_of(amp: bool, device: str) -> torch.dtype | None:
    """That of automatic mixed precision; None where it is not asked for or cannot be had."""
    if not amp:
        return None
    if torch.device(device).type == "cuda":
        return torch.float16
    logger.warning("Automatic mixed precision needs CUDA: training in single precision on %r.", device)
    return None
