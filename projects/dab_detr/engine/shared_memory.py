"""Checks that data workers have enough shared memory, without which they hang or die."""

import shutil
from collections.abc import Iterable
from pathlib import Path

from detectron2.utils import comm
from torch import Tensor

from ..data.loader import TrainLoader

PLACE = Path("/dev/shm")
AHEAD = 2  # batches that each worker of a torch DataLoader prepares


def check_shared_memory(loader: Iterable) -> None:
    """Raise ValueError if the batches that the workers prepare do not fit into /dev/shm, judged by the first image."""
    if not (isinstance(loader, TrainLoader) and loader.num_workers and PLACE.is_dir()):
        return
    processes = comm.get_local_size()
    needed = image_bytes(loader.visits[0]) * loader.batch_size * loader.num_workers * AHEAD * processes
    free = shutil.disk_usage(PLACE).free
    if needed > free:
        most = int(loader.num_workers * free / needed)
        raise ValueError(
            f"{PLACE} has {free / 2**20:.0f} MiB free, and {loader.num_workers} data workers need about "
            f"{needed / 2**20:.0f} MiB: set dataloader.num_workers={most}, or provide more shared memory (docker run "
            "--shm-size=8g)"
        )


def image_bytes(entry: dict | list | None) -> int:
    """The bytes of all tensors of one mapped image."""
    values = entry.values() if isinstance(entry, dict) else entry or ()
    return sum(x.numel() * x.element_size() for x in values if isinstance(x, Tensor))
