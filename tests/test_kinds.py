"""Kinds of values: the plain hints of functions, and what fits them."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, Optional

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from dab_detr.engine.optimizer import ClippedAdamW
from dab_detr.kinds import allows_null, fits, hint_of, hints_of, plain, words

PLAIN = {
    bool: ("true or false", [True, False], [1, 0, "yes", None]),
    int: ("a whole number", [3, -1], [3.0, "3", True, None, [3]]),
    float: ("a number", [3, 0.5, math.nan], ["0.5", True, None]),
    str: ("text", ["", "a"], [3, None, ["a"]]),
    Path: ("a path", ["~/x", Path("x")], [20240101, ["x"], None]),
    dict: ("keys with values", [{}, {"a": 1}], [[1], 3, None]),
    int | None: ("a whole number or null", [3, None], ["3", 3.5]),
    Optional[float]: ("a number or null", [3.5, None], ["3"]),  # noqa: UP045
    float | Tensor: ("a number", [3.5], ["3", None]),
    Literal["max", "min"]: ("'max' or 'min'", ["max"], ["most", 3]),
    Sequence[int]: ("a list of whole numbers", [[], [1, 2], ["${a}", 1]], [3, "12", [1.5], ["a"]]),
    tuple[float, float]: ("a list of 2 numbers", [[1, 2.5]], [[1], [1, 2, 3], 1]),
    Mapping[str, int]: ("keys with values", [{"a": 1}], [[1]]),
    list: ("a list of values", [[1, "a"]], ["a", None]),
}


@pytest.mark.parametrize("hint", PLAIN, ids=str)
def test_values_fit_their_kind_and_no_other(hint):
    said, good, bad = PLAIN[hint]
    assert plain(hint) and words(hint) == said
    assert [x for x in good if not fits(x, hint)] == []
    assert [x for x in bad if fits(x, hint)] == []


@pytest.mark.parametrize("hint", [nn.Module, nn.Module | None, Sequence[nn.Module], Tensor], ids=str)
def test_a_part_is_no_plain_kind(hint):
    assert not plain(hint)
    assert allows_null(hint) == (hint == nn.Module | None)


PLAIN_VALUES = st.recursive(
    st.booleans() | st.integers() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
)


@given(PLAIN_VALUES)
def test_every_value_fits_the_kind_that_is_read_from_it(value):
    hint = hint_of(value)
    assert hint is not None and plain(hint) and fits(value, hint) and words(hint)


@given(PLAIN_VALUES, PLAIN_VALUES)
def test_a_value_never_fits_the_kind_of_another_by_chance(one, other):
    if fits(one, hint_of(other)) and not isinstance(one, list | dict):
        assert type(one) is type(other) or (type(one), type(other)) == (int, float)


def test_hints_go_on_to_the_constructor_that_is_overridden():
    hints, open_ended = hints_of(ClippedAdamW)
    assert hints["max_norm"] is float and fits(1e-4, hints["lr"]) and not fits("fast", hints["lr"])
    assert "self" not in hints and open_ended


def test_a_default_of_null_may_be_given():
    def build(width: int = None):  # noqa: RUF013
        return width

    hints, open_ended = hints_of(build)
    assert allows_null(hints["width"]) and not open_ended


def test_code_without_hints_takes_anything():
    assert hints_of(max) == ({}, True)
