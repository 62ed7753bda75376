"""Random choices that belong to the sample: the same however batches are cut, and whichever process loads it.

A visit is one look at one image: number `epoch * size + index`. The sampler deals out visits, the dataset gives each
a seed by which the mapper augments, and by which denoising draws its noise.
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


def seed_of(*numbers: int) -> int:
    """A seed below 2 ** 32 from non-negative numbers, e.g. of the training, the epoch and the image."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Python's, NumPy's and torch's random numbers on the CPU start from `seed`; after it they go on as before it."""
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
    """What `mapper` makes of image `index` at visit `epoch * size + index`, with the key `seed`: the visit's own.

    Where the mapper answers None, as Detectron2 lets it, the next image that it takes stands in.
    """

    def __init__(self, dataset: Sequence[dict], mapper: Callable[[dict], dict | None], *, seed: int):
        self.dataset = DatasetFromList(dataset, copy=False) if isinstance(dataset, list) else dataset
        self.mapper, self.seed = mapper, seed

    def __len__(self) -> int:
        """The number of images, which is that of the visits of one epoch."""
        return len(self.dataset)

    def __getitem__(self, visit: int) -> dict:
        size = len(self)
        epoch, index = divmod(visit, size)
        seed = seed_of(self.seed, epoch, index)
        with seeded(seed):
            mapped = next(x for i in range(size) if (x := self.mapper(self.dataset[(index + i) % size])) is not None)
        return {**mapped, "seed": seed}


class VisitSampler(Sampler):
    """Endless visits in an order that is shuffled anew in every epoch: this process's share, every n-th of n.

    It is a function of `size`, `seed` and `start`, the number of visits that all processes have had before.
    """

    def __init__(self, size: int, *, seed: int, start: int = 0):
        self.size, self.seed, self.start = size, seed, start
        self.rank, self.world_size = comm.get_rank(), comm.get_world_size()

    def __iter__(self) -> Iterator[int]:
        mine = itertools.count(self.start + self.rank, self.world_size)
        for epoch, places in itertools.groupby(mine, lambda place: place // self.size):
            shuffled = torch.Generator().manual_seed(seed_of(self.seed, epoch))
            order = torch.randperm(self.size, generator=shuffled).tolist()
            for place in places:
                yield epoch * self.size + order[place % self.size]
