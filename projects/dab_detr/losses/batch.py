"""The effective batch: all images of one step of the optimizer."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from detectron2.utils import comm
from torch import Tensor


class EffectiveBatch(NamedTuple):
    """The number of objects in each of the I images in the micro-batches of all processes.

    A loss, like a gradient, is a sum over micro-batches and a mean over processes. Its divisor is therefore that of the
    whole batch, divided by the number of processes. Then every way to cut the batch gives the same gradient.

    counts: (I,) int64, objects in each image.
    processes: number of processes whose gradients are averaged.
    """

    counts: Tensor
    processes: int = 1

    @classmethod
    def gather(cls, counts: Sequence[int], device: torch.device) -> "EffectiveBatch":
        """Gather the counts of all processes. They call it together, each with the same number of images."""
        local, processes = torch.tensor(counts, device=device), comm.get_world_size()
        if processes == 1:
            return cls(local)
        gathered = local.new_empty(processes * len(local))
        torch.distributed.all_gather_into_tensor(gathered, local)
        return cls(gathered, processes)

    def num_boxes(self, like: Tensor) -> Tensor:
        """Objects per process; the whole batch counts as at least 1."""
        return self.counts.sum().clamp(min=1).to(like) / self.processes

    def matched(self, num_queries: int, like: Tensor) -> Tensor:
        """Queries with an object per process, if every image has `num_queries` queries."""
        return self.counts.clamp(max=num_queries).sum().to(like) / self.processes

    def queries(self, num_queries: int) -> float:
        """Queries per process, if every image has `num_queries` queries."""
        return len(self.counts) * num_queries / self.processes
