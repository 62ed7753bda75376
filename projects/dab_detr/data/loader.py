"""The training loader: batches in an order that is known beforehand, so that a training can go on where it stopped."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence

import torch
from detectron2.data.build import trivial_batch_collator
from detectron2.utils import comm
from torch.utils.data import BatchSampler, DataLoader, Sampler

from .seeding import Visits, VisitSampler


class TrainLoader:
    """Endless batches, each this process's share of `total_batch_size` images, from the batch `start` on.

    Without `aspect_ratio_grouping` the images of all processes together, and what is random about each, are the same
    for any number of processes and workers. With it a process's images are either all wider than high or none.

    seed: of order, augmentation and denoising; below 0 it is drawn, the same for all processes.

    `seed` and `start` may be set until the first batch is asked for; nothing is read before.
    """

    def __init__(
        self,
        *,
        dataset: Sequence[dict],
        mapper: Callable[[dict], dict | None],
        total_batch_size: int,
        seed: int = -1,
        aspect_ratio_grouping: bool = False,
        num_workers: int = 0,
    ):
        self.groups = [x["width"] > x["height"] for x in dataset] if aspect_ratio_grouping else None
        self.visits = Visits(dataset, mapper, seed=comm.shared_random_seed() if seed < 0 else seed)
        self.total_batch_size, self.batch_size = total_batch_size, total_batch_size // comm.get_world_size()
        self.num_workers, self.start = num_workers, 0

    @property
    def seed(self) -> int:
        return self.visits.seed

    @seed.setter
    def seed(self, seed: int) -> None:
        self.visits.seed = seed

    def __iter__(self) -> Iterator[list[dict]]:
        yield from DataLoader(
            self.visits,
            batch_sampler=self._batches(),
            num_workers=self.num_workers,
            collate_fn=trivial_batch_collator,
            generator=torch.Generator(),  # not to draw from that of the training
        )

    def _batches(self) -> Sampler:
        if self.groups:
            sampler = VisitSampler(len(self.visits), seed=self.seed)
            return GroupedBatches(sampler, self.batch_size, groups=self.groups, start=self.start)
        sampler = VisitSampler(len(self.visits), seed=self.seed, start=self.start * self.total_batch_size)
        return BatchSampler(sampler, self.batch_size, drop_last=True)


class GroupedBatches(Sampler):
    """Endless lists of visits to images of one group, in the order in which they are full; the first `start` are left
    out.

    groups: of every image, of which there are as many as visits in an epoch. Images that wait for their batch to be
    full are those numbers here, and not what a mapper has made of them: so they can be made to wait anew.
    """

    def __init__(self, visits: VisitSampler, batch_size: int, *, groups: Sequence[Hashable], start: int = 0):
        self.visits, self.batch_size, self.groups, self.start = visits, batch_size, groups, start

    def __iter__(self) -> Iterator[list[int]]:
        return itertools.islice(self._all(), self.start, None)

    def _all(self) -> Iterator[list[int]]:
        waiting = defaultdict(list)
        for visit in self.visits:
            group = self.groups[visit % len(self.groups)]
            waiting[group].append(visit)
            if len(waiting[group]) == self.batch_size:
                yield waiting.pop(group)
