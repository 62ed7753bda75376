"""Class names in pictures: any name can be drawn, and no name ends a training."""

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure

from dab_detr.visualization import text
from dab_detr.visualization.drawing import draw_boxes
from dab_detr.visualization.text import drawing, fonts_for, plain_text, readable


@pytest.mark.parametrize("name", ["bar $%d$", "a_b^c", "R&D", "x < y", "\\alpha", "$", "שלום", "Straße", "50 %"])
def test_names_are_drawn_as_they_are(name):
    assert readable(name, 3) == name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("\ue000\ue001", "class 3"),
        ("\ue000 87%", "class 3 87%"),
        ("cat \ue000", "cat ?"),
        ("two\nlines\tand more", "two lines and more"),
        ("", "class 3"),
        ("\ud800", "class 3"),
        ("_hidden", " _hidden"),
        ("x" * 100, "x" * 31 + "…"),
    ],
)
def test_names_that_no_font_has_are_readable(name, expected):
    assert readable(name, 3) == expected


def test_a_font_that_has_the_characters_is_used(monkeypatch):
    found = {"other.ttf": frozenset("猫")}
    characters_of = text.characters_of
    monkeypatch.setattr(text, "characters_of", lambda path: found.get(path) or characters_of(path))
    entry = text.font_manager.FontEntry(fname="other.ttf", name="Other")
    monkeypatch.setattr(text.font_manager.fontManager, "ttflist", [entry])
    text.search_fonts.cache_clear()
    try:
        assert fonts_for("a猫") == (["DejaVu Sans", "Other"], frozenset())
        assert readable("猫", 3) == "猫"
    finally:
        text.search_fonts.cache_clear()


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters()))
@example("bar $%d$")
@example("\\frac{$")
@example("مرحبا")
def test_any_name_can_be_drawn(name):
    names = [readable(name, 0), readable(f"{name} 87%", 1)]
    with plain_text(names):
        figure = Figure()
        axes = figure.subplots()
        axes.plot([0, 1], label=names[0])
        axes.set_xticks([0, 1], names)
        axes.legend()
        figure.canvas.draw()
        assert [x.get_text() for x in axes.get_legend().get_texts()] == names[:1]
    draw_boxes(np.zeros((40, 60, 3), np.uint8), np.array([[5.0, 5, 30, 30]]), labels=[2], texts=[name])


def test_a_failure_is_a_warning(caplog):
    with drawing("x.png"):
        raise RuntimeError("no canvas")
    assert "x.png could not be drawn (RuntimeError: no canvas)" in caplog.text
    with pytest.raises(KeyboardInterrupt), drawing("x.png"):
        raise KeyboardInterrupt
