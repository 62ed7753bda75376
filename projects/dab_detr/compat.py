"""The one place that knows how Detectron2 0.5 and its main branch differ."""

import torch
from detectron2.engine import TrainerBase
from detectron2.utils import comm
from detectron2.utils.events import EventStorage, get_event_storage

LAUNCHES_ON_CPU = hasattr(comm, "create_local_process_group")
"""Whether `launch` can start several processes without GPUs. (0.5 asserts that there are GPUs.)"""


def event_storage() -> EventStorage | None:
    """The event storage of the training in progress; None outside of one. (0.5 has no has_event_storage.)"""
    try:
        return get_event_storage()
    except AssertionError:
        return None


def create_local_process_group(size: int) -> None:
    """Tell `comm` the processes of this machine, this number on each. All processes call it together.

    (In 0.5 only the launcher does this, and only for GPUs.)
    """
    if hasattr(comm, "create_local_process_group"):
        comm.create_local_process_group(size)
        return
    for first in range(0, comm.get_world_size(), size):
        group = torch.distributed.new_group(range(first, first + size))
        if first <= comm.get_rank() < first + size:
            comm._LOCAL_PROCESS_GROUP = group


def after_backward(trainer: TrainerBase) -> None:
    """Call the hooks that want to see the gradients. (0.5 has none.)"""
    getattr(trainer, "after_backward", lambda: None)()
