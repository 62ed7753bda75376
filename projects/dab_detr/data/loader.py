"""The training loader: its batches have a fixed order, so that a stopped training can continue."""

import itertools
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence

import torch
from detectron2.data.build import trivial_batch_collator
from detectron2.utils import comm
from torch.utils.data import BatchSampler, DataLoader, Sampler

from .seeding import Visits, VisitSampler
from .sharing import WAY_OUT

TIMEOUT = 600  # seconds without a batch after which the workers count as stuck


class TrainLoader:
    """Endless batches, each with this process's share of `total_batch_size` images, starting with batch `start`.

    The images of all processes together, and all randomness of each image, are the same for any number of processes and
    workers. This does not hold with `aspect_ratio_grouping`, which gives a process only wide or only tall images.

    seed: determines order, augmentation and denoising. A negative seed is replaced by a random one, the same for all
        processes.

    `seed` and `start` may be set until the first batch is requested; nothing is read before.
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
        loader = DataLoader(
            self.visits,
            batch_sampler=self._batches(),
            num_workers=self.num_workers,
            collate_fn=trivial_batch_collator,
            generator=torch.Generator(),  # leaves the training's generator alone
            timeout=TIMEOUT if self.num_workers else 0,
        )
        try:
            yield from loader
        except OSError as error:
            if WAY_OUT not in str(error):
                raise
            # a worker's error has its traceback before its message
            raise OSError(str(error).splitlines()[-1].removeprefix("OSError: ")) from error
        except RuntimeError as error:
            if not str(error).startswith("DataLoader"):  # a worker's own error
                raise
            raise OSError(
                f"a data worker ended or gave nothing for {TIMEOUT} s ({error}). If shared memory is short (`df -h "
                f"/dev/shm`), {WAY_OUT}"
            ) from error

    def _batches(self) -> Sampler:
        if self.groups:
            sampler = VisitSampler(len(self.visits), seed=self.seed)
            return GroupedBatches(sampler, self.batch_size, groups=self.groups, start=self.start)
        sampler = VisitSampler(len(self.visits), seed=self.seed, start=self.start * self.total_batch_size)
        return BatchSampler(sampler, self.batch_size, drop_last=True)


class GroupedBatches(Sampler):
    """Endless lists of visits to images of one group, in the order in which they fill; the first `start` are skipped.

    An image that waits for its batch to fill is only a number here, not the output of a mapper, so a resumed training
    can restore it.

    groups: the group of every image.
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
