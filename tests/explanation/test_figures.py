"""The papers' figures show what their formulas say."""

import numpy as np
import pytest
from test_explanation import IMAGE, predictor

from dab_detr import explain
from dab_detr.explanation.figures import CELLS, positional_kernel, save_figures
from dab_detr.models import MODELS

MIDDLE = CELLS // 2


def spread(kernel: np.ndarray) -> tuple[float, float]:
    """Standard deviation of a kernel along x and along y, in cells."""
    cells = np.arange(CELLS) - MIDDLE
    share = kernel / kernel.sum()
    return tuple(np.sqrt((share.sum(axis) * cells**2).sum()) for axis in (0, 1))


@pytest.mark.parametrize("temperature", [2.0, 20.0, 10000.0])
def test_a_kernel_is_highest_at_its_anchor(temperature):
    kernel = positional_kernel(1.0, 1.0, temperature)
    assert np.unravel_index(kernel.argmax(), kernel.shape) == (MIDDLE, MIDDLE) and kernel.max() == 1
    assert np.allclose(kernel, kernel.T) and kernel.min() > 0


def test_lower_temperatures_look_at_smaller_places():
    low, middle, high = (spread(positional_kernel(1.0, 1.0, t))[0] for t in (2.0, 20.0, 10000.0))
    assert low < middle < high


def test_a_wide_anchor_spreads_along_x():
    (wide_x, wide_y), (tall_x, tall_y) = (spread(positional_kernel(*r, 20.0)) for r in ((1 / 3, 1.0), (1.0, 1 / 3)))
    assert wide_x > 1.2 * wide_y and tall_y > 1.2 * tall_x


@pytest.mark.parametrize("name", MODELS)
def test_every_member_has_figures(name, tmp_path):
    found = explain(predictor(name), IMAGE, threshold=0.0, max_objects=1)
    paths = save_figures(tmp_path, found, source="model $x$.pth")
    assert {path.stem for path in paths} == {"temperatures", "modulations", *found.parts()}
    assert all(path.stat().st_size > 1000 for path in paths)
