"""Random choices that belong to a sample. They do not depend on its batch, or on the process that loads it.

A visit is one look at one image; its number is `epoch * size + index`. The sampler deals out visits. The dataset gives
each visit a seed, which determines its augmentation and its denoising noise.
"""

import itertools
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from detectron2.data import DatasetFromList
from detectron2.utils import comm
from torch.utils.data import Dataset, Sampler

from .sharing import share


def seed_of(*numbers: int) -> int:
    """A seed below 2 ** 32 from non-negative numbers, such as the training's seed, the epoch and the image."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Start the CPU random numbers of Python, NumPy and torch from `seed`, and restore their states at the end."""
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        random.seed(seed)
        np.random.seed(seed)
        torch.default_generator.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(states[0])
            np.random.set_state(states[1])


class Visits(Dataset):
    """The mapped image `index` at visit `epoch * size + index`, with the visit's own seed under the key `seed`.

    If the mapper returns None, which Detectron2 allows, the next image that it accepts takes its place.
    """

    def __init__(self, dataset: Sequence[dict], mapper: Callable[[dict], dict | None], *, seed: int):
        self.dataset = DatasetFromList(dataset, copy=False) if isinstance(dataset, list) else dataset
        self.mapper, self.seed = mapper, seed

    def __len__(self) -> int:
        """The number of images, which is also the number of visits in an epoch."""
        return len(self.dataset)

    def __getitem__(self, visit: int) -> dict:
        size = len(self)
        epoch, index = divmod(visit, size)
        seed = seed_of(self.seed, epoch, index)
        with seeded(seed):
            mapped = next(x for i in range(size) if (x := self.mapper(self.dataset[(index + i) % size])) is not None)
        return share({**mapped, "seed": seed})  # a user's mapper may not share its tensors


class VisitSampler(Sampler):
    """Endless visits, shuffled again in every epoch; each of n processes gets every n-th visit.

    The order is a function of `size`, `seed` and `start`, the number of visits that all processes have made before.
    """

    def __init__(self, size: int, *, seed: int, start: int = 0):
        self.size, self.seed, self.start = size, seed, start
        self.rank, self.world_size = comm.get_rank(), comm.get_world_size()

    def __iter__(self) -> Iterator[int]:
        local = itertools.count(self.start + self.rank, self.world_size)
        for epoch, places in itertools.groupby(local, lambda place: place // self.size):
            shuffled = torch.Generator().manual_seed(seed_of(self.seed, epoch))
            order = torch.randperm(self.size, generator=shuffled).tolist()
            for place in places:
                yield epoch * self.size + order[place % self.size]
