"""Pictures of an evaluation, by what is in the figures."""

import numpy as np
import pytest

from dab_detr.visualization.detection import draw_confusions, draw_precision_recall

RECALL, OVERLAPS = np.linspace(0, 1, 101), np.linspace(0.5, 0.95, 10)


def labels(axes) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


def test_curves_by_class_and_by_overlap():
    precision = np.ones((10, 101, 3)) * [1.0, 0.5, np.nan] * np.linspace(1, 0.1, 10)[:, None, None]
    by_class, by_overlap = draw_precision_recall(["cat", "dog", "fish"], RECALL, OVERLAPS, precision).axes
    assert labels(by_class) == ["cat: 100.0", "dog: 50.0", "all: 75.0"]
    means = (("0.50", 75), ("0.60", 60), ("0.70", 45), ("0.80", 30), ("0.90", 15))
    assert labels(by_overlap) == [f"IoU {overlap}: {mean:.1f}" for overlap, mean in means]
    assert np.allclose(by_class.lines[-1].get_ydata(), 0.75)


def test_of_many_classes_the_best_and_the_worst_are_named():
    precision = np.ones((10, 101, 30)) * np.linspace(0, 0.9, 30)
    by_class, _ = draw_precision_recall([f"c{k}" for k in range(30)], RECALL, OVERLAPS, precision).axes
    assert [x.split(":")[0] for x in labels(by_class)] == ["c29", "c28", "c27", "c2", "c1", "c0", "all"]
    assert len(by_class.lines) == 31


def test_curves_of_nothing():
    by_class, by_overlap = draw_precision_recall(["cat"], RECALL, OVERLAPS, np.full((10, 101, 1), np.nan)).axes
    assert labels(by_class) == [] and labels(by_overlap)[0] == "IoU 0.50: no objects"


@pytest.mark.parametrize("number", [1, 3, 25])
def test_cells_of_a_matrix_have_their_numbers(number):
    counts = np.arange((number + 1) ** 2).reshape(number + 1, number + 1)
    axes, _ = draw_confusions([f"c{k}" for k in range(number)], counts, 0.25).axes
    assert {text.get_position(): text.get_text() for text in axes.texts} == {
        (j, i): str(counts[i, j]) for i, j in np.argwhere(counts)
    }
    assert [x.get_text() for x in axes.get_yticklabels()][-1] == "background"
    assert [x.get_text() for x in axes.get_xticklabels()][-1] == "missed"
    assert "score 0.25" in axes.get_title()


def test_of_very_many_classes_those_that_are_confused_are_drawn():
    counts = np.diag(np.full(121, 50))
    counts[7, 100] = counts[110, -1] = 3
    axes, _ = draw_confusions([f"c{k}" for k in range(120)], counts, 0.3).axes
    shown = [x.get_text() for x in axes.get_yticklabels()]
    assert len(shown) == 81 and {"c7", "c100", "background"} <= set(shown) and "c110" not in shown
    assert axes.images[0].get_array()[shown.index("c7"), shown.index("c100")] == pytest.approx(3 / 53)
    assert "the 80 of 120 classes" in axes.get_title()
