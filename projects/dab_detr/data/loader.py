"""The training loader: Detectron2's, with random choices that belong to the sample."""

from collections.abc import Callable, Iterable, Sequence

from detectron2.data import build_detection_train_loader
from detectron2.utils import comm

from .seeding import Visits, VisitSampler


def train_loader(
    *,
    dataset: Sequence[dict],
    mapper: Callable[[dict], dict | None],
    total_batch_size: int,
    seed: int = -1,
    aspect_ratio_grouping: bool = False,
    num_workers: int = 0,
) -> Iterable[list[dict]]:
    """Endless batches, each this process's share of `total_batch_size` images.

    Without `aspect_ratio_grouping` the images of all processes together, and what is random about each, are the same
    for any number of processes and workers.

    seed: of order, augmentation and denoising; below 0 it is drawn, the same for all processes.
    """
    if seed < 0:
        seed = comm.shared_random_seed()
    return build_detection_train_loader(
        Visits(dataset, mapper, seed=seed),
        mapper=None,
        sampler=VisitSampler(len(dataset), seed=seed),
        total_batch_size=total_batch_size,
        aspect_ratio_grouping=aspect_ratio_grouping,
        num_workers=num_workers,
    )
