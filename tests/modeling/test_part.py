"""What a part declares, and what holds for a part that declares nothing."""

import pytest
from torch import nn

from dab_detr.modeling.part import Part, declared, required

DEFAULTS = {name: value for name, value in vars(Part).items() if name in Part.__annotations__}


class Mine(nn.Module):
    """A part of a user's own, which does not know the contract."""


@pytest.mark.parametrize("name", DEFAULTS)
def test_a_part_that_declares_nothing_has_the_defaults(name):
    assert declared(Mine(), name) == declared(object(), name) == DEFAULTS[name]


def test_the_class_or_the_constructor_may_declare():
    part = Mine()
    part.levels, Mine.gives = 3, ["anchors"]
    assert (declared(part, "levels"), declared(part, "gives")) == (3, ["anchors"])
    del Mine.gives


@pytest.mark.parametrize("value", ["anchors", (1,)])
@pytest.mark.parametrize("name", ["needs", "gives"])
def test_a_declaration_that_is_no_tuple_of_strings(name, value):
    part = Mine()
    setattr(part, name, value)
    with pytest.raises(ValueError, match=rf"Mine\.{name} must be a tuple of strings, got .*docs/extending\.md"):
        declared(part, name)


def test_what_a_part_must_have_is_named():
    with pytest.raises(
        ValueError, match=r"the Mine of model\.neck must have the attribute 'dim' \(docs/extending\.md\)"
    ):
        required(Mine(), "dim", "model.neck")


def test_every_attribute_is_documented():
    for name in DEFAULTS:
        assert f"\n    {name}: " in Part.__doc__, name
