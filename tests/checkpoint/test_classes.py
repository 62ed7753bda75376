"""Rows of the classes that a checkpoint and a dataset share."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dab_detr.checkpoint.classes import COCO_OUTPUTS, class_rows, take_rows

GAPS = {0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83}  # ids between 0 and 90 that COCO's detection does not use


def rows(source, target, num_source, num_target):
    return class_rows(source=source, target=target, num_source=num_source, num_target=num_target)


def test_91_outputs_to_80_are_those_of_the_used_ids():
    used = [i for i in range(91) if i not in GAPS]
    assert rows(None, None, 91, 80) == used
    assert rows(None, COCO_OUTPUTS[80], 91, 80) == used
    assert rows(None, None, 80, 91) == [used.index(i) if i in used else None for i in range(91)]


def test_equally_many_without_names_are_the_same():
    assert rows(None, ["a", "b", "c"], 3, 3) == [0, 1, 2]
    assert rows(None, None, 91, 91) == list(range(91))


def test_by_names():
    assert rows(["cat", None, "hot-dog"], ["Hot dog", "mouse", "cat"], 3, 3) == [2, None, 0]
    assert rows(None, ["person", "platelets", "traffic_light"], 91, 3) == [1, None, 10]
    assert rows(None, ["person", "traffic light"], 80, 2) == [0, 9]


def test_unknown_classes_share_nothing():
    assert rows(None, ["a", "b"], 5, 2) == [None, None]
    assert rows(["a", "b"], None, 2, 5) == [None] * 5
    assert rows(["a", "b"], None, 2, 2) == [0, 1]


@given(st.permutations(list("abcdefg")), st.permutations(list("defghij")), st.integers(0, 1))
def test_take_rows(source, target, extra):
    theirs, ours = torch.rand(len(source) + extra, 3), torch.rand(len(target) + extra, 3)
    found = rows(source, target, len(source), len(target))
    taken = take_rows(theirs, ours, found)
    for i, name in enumerate(target):
        assert torch.equal(taken[i], theirs[source.index(name)] if name in source else ours[i])
    assert torch.equal(taken[len(target) :], theirs[len(source) :])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_take_rows_keeps_the_model_s_type(dtype):
    taken = take_rows(torch.ones(2, 3), torch.zeros(3, 3, dtype=dtype), [1, None, 0])
    assert taken.dtype == dtype and taken.sum() == 6
