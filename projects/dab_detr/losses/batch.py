"""The effective batch: all images that one step of the optimizer learns from."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from detectron2.utils import comm
from torch import Tensor


class EffectiveBatch(NamedTuple):
    """How many objects each of its images has, I images in the micro-batches of all processes.

    A loss is a sum over micro-batches and a mean over processes, as gradients are. So what it is divided by is that
    of the whole, over the number of processes; then any way to cut the batch gives the same.

    counts: (I,) int64.
    processes: over which gradients are averaged.
    """

    counts: Tensor
    processes: int = 1

    @classmethod
    def gather(cls, counts: Sequence[int], device: torch.device) -> "EffectiveBatch":
        """From the counts of this process's images; all processes call it together, with as many images each."""
        local, processes = torch.tensor(counts, device=device), comm.get_world_size()
        if processes == 1:
            return cls(local)
        gathered = local.new_empty(processes * len(local))
        torch.distributed.all_gather_into_tensor(gathered, local)
        return cls(gathered, processes)

    def num_boxes(self, like: Tensor) -> Tensor:
        """Objects for each process, in all at least 1."""
        return self.counts.sum().clamp(min=1).to(like) / self.processes

    def matched(self, num_queries: int, like: Tensor) -> Tensor:
        """Queries for each process that get an object where every image has so many queries."""
        return self.counts.clamp(max=num_queries).sum().to(like) / self.processes

    def queries(self, num_queries: int) -> float:
        """Queries for each process where every image has so many."""
        return len(self.counts) * num_queries / self.processes
