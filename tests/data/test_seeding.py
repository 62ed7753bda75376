"""Random choices by sample: the same for any number of processes and workers, another at every visit."""

import itertools
import random

import numpy as np
import pytest
import torch
from detectron2.utils import comm

from dab_detr.data.loader import TrainLoader
from dab_detr.data.seeding import Visits, VisitSampler, seed_of, seeded

SIZE = 5


def draw(sample: dict) -> dict:
    """A mapper with a random number from each of the three sources."""
    return {**sample, "drawn": (random.random(), np.random.rand(), torch.rand(1).item())}


def pictures(size: int = SIZE) -> list[dict]:
    return [{"index": i, "width": 20 + 20 * (i % 2), "height": 30} for i in range(size)]


def visits(monkeypatch, processes: int = 1, count: int = 4 * SIZE, **options) -> list[int]:
    """The first visits of all processes together, in the order of their places."""
    monkeypatch.setattr(comm, "get_world_size", lambda: processes)
    shares = []
    for rank in range(processes):
        monkeypatch.setattr(comm, "get_rank", lambda rank=rank: rank)
        sampler = VisitSampler(SIZE, **{"seed": 1, **options})
        shares.append(list(itertools.islice(sampler, count // processes)))
    return [visit for place in zip(*shares, strict=True) for visit in place]


def test_every_epoch_visits_every_image_once_in_an_order_of_its_own(monkeypatch):
    found = visits(monkeypatch)
    for epoch in range(4):
        part = found[epoch * SIZE : (epoch + 1) * SIZE]
        assert sorted(part) == list(range(epoch * SIZE, (epoch + 1) * SIZE))
    assert len({tuple(x % SIZE for x in found[i : i + SIZE]) for i in range(0, 20, SIZE)}) > 1
    assert visits(monkeypatch, seed=2) != found


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_share_the_same_visits(processes, monkeypatch):
    assert visits(monkeypatch, processes) == visits(monkeypatch)


@pytest.mark.parametrize("processes, start", [(1, 7), (2, 8), (2, 10)])
def test_goes_on_from_where_another_stopped(processes, start, monkeypatch):
    assert visits(monkeypatch, processes, count=8, start=start) == visits(monkeypatch)[start : start + 8]


def test_a_visit_is_the_same_whenever_and_in_whatever_order():
    dataset = Visits(pictures(), draw, seed=3)
    forwards, backwards = [dataset[i] for i in range(10)], [dataset[i] for i in reversed(range(10))]
    assert forwards == backwards[::-1]
    assert [x["index"] for x in forwards] == [*range(SIZE), *range(SIZE)]
    assert len({x["seed"] for x in forwards}) == 10 and len({x["drawn"] for x in forwards}) == 10
    assert Visits(pictures(), draw, seed=4)[0]["drawn"] != forwards[0]["drawn"]


def test_an_image_that_the_mapper_refuses_is_replaced_by_the_next():
    dataset = Visits(pictures(), lambda x: None if x["index"] in (3, 4) else x, seed=0)
    assert [dataset[i]["index"] for i in range(SIZE)] == [0, 1, 2, 0, 0]


def test_other_random_numbers_go_on_as_if_nothing_had_been():
    def numbers():
        return random.random(), np.random.rand(), torch.rand(1).item()

    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    expected = numbers(), numbers()
    random.setstate(states[0])
    np.random.set_state(states[1])
    torch.set_rng_state(states[2])
    found = [numbers()]
    with pytest.raises(KeyError), seeded(5):
        first = numbers()
        raise KeyError
    assert (found[0], numbers()) == expected
    with seeded(5):
        assert numbers() == first


def test_seeds():
    assert seed_of(1, 2, 3) == seed_of(1, 2, 3) < 2**32
    assert len({seed_of(*x) for x in itertools.product(range(8), repeat=3)}) == 512


def batches(count: int = 6, **options) -> list[list[dict]]:
    settings = {"dataset": pictures(), "mapper": draw, "total_batch_size": 2, "seed": 1} | options
    return list(itertools.islice(TrainLoader(**settings), count))


def test_workers_change_nothing():
    assert batches() == batches(num_workers=2)


def test_grouped_images_are_those_of_the_same_visits():
    grouped = {x["seed"]: x["drawn"] for batch in batches(aspect_ratio_grouping=True) for x in batch}
    plain = {x["seed"]: x["drawn"] for batch in batches(count=10) for x in batch}
    assert len(grouped) == 12 and grouped.items() <= plain.items()


def test_without_a_seed_one_is_drawn(monkeypatch):
    monkeypatch.setattr(comm, "shared_random_seed", lambda: 1)
    assert batches(seed=-1) == batches(seed=1)
