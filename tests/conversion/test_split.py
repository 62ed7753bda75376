"""The validation set that is split off."""

import random
from collections import Counter
from pathlib import Path

import pytest

from dab_detr.conversion.records import Item, Picture
from dab_detr.conversion.split import split_off


def pictures(seed: int, number: int) -> list[Picture]:
    rng = random.Random(seed)
    return [
        Picture(
            path=Path(f"/d/{i}.png"),
            size=(9, 9),
            items=[Item(name=rng.choice("aaaaabbbc"), box=(0, 0, 1, 1)) for _ in range(rng.randint(0, 3))],
        )
        for i in range(number)
    ]


@pytest.mark.parametrize("seed", range(20))
def test_train_and_val_are_the_whole_and_every_class_stays_in_train(seed):
    some = pictures(seed, 50)
    train, val = split_off(some, 0.2, seed)
    assert len(val) == 10 and {x.path for x in train} | {x.path for x in val} == {x.path for x in some}
    shuffled = random.Random(1).sample(some, len(some))
    assert {x.path for x in split_off(shuffled, 0.2, seed)[1]} == {x.path for x in val}
    counts = [Counter(name for x in part for name in {item.name for item in x.items}) for part in (some, train, val)]
    for name, total in counts[0].items():
        assert counts[1][name] >= 1
        assert total < 2 or counts[2][name] >= 1


def test_other_seeds_give_other_sets():
    some = pictures(0, 50)
    assert {x.path for x in split_off(some, 0.2, 0)[1]} != {x.path for x in split_off(some, 0.2, 1)[1]}


@pytest.mark.parametrize(("number", "fraction"), [(1, 0.2), (5, 0), (5, 1), (5, -1)])
def test_what_cannot_be_split(number, fraction):
    with pytest.raises(ValueError, match="fraction|fewer"):
        split_off(pictures(0, number), fraction, 0)
