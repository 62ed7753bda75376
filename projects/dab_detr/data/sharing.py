"""Moves images to shared memory in data workers, where a lack of it is an error at once."""

from torch import Tensor
from torch.utils.data import get_worker_info

WAY_OUT = "lower dataloader.num_workers, or provide more shared memory (docker run --shm-size=8g)"


def share(entry: dict) -> dict:
    """Move the tensors of a mapped image to shared memory in a data worker. Elsewhere, change nothing.

    torch would do it later, print any error, and leave the training waiting for the batch.

    Raises OSError if /dev/shm is full.
    """
    if get_worker_info() is not None:
        for value in entry.values():
            if isinstance(value, Tensor):
                share_tensor(value)
    return entry


def share_tensor(x: Tensor) -> None:
    try:
        x.share_memory_()
    except RuntimeError as error:
        raise OSError(f"/dev/shm is full, so a data worker cannot pass on an image ({error}): {WAY_OUT}") from error
