"""The papers' figures show what their formulas say."""

import numpy as np
import pytest
from detectron2.structures import pairwise_iou
from test_explanation import IMAGE, predictor

from dab_detr import explain
from dab_detr.explanation.figures import CELLS, positional_kernel, save_figures, side_by_side
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
    assert {path.stem for path in paths} == {"temperatures", "modulations", *(found.parts() or ["points"])}
    assert all(path.stat().st_size > 1000 for path in paths)


def test_detectors_side_by_side_show_the_same_object(tmp_path):
    """Each column shows the detection that overlaps most with the best one of the first."""
    first = explain(predictor("dab_detr"), IMAGE, threshold=0.0, max_objects=1)
    others = {x: explain(predictor(x), IMAGE, threshold=0.0) for x in ("conditional_detr", "detr")}
    figure = side_by_side({"dab_detr": first} | others, heads=2)
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["dab_detr", "conditional_detr", "detr", *[""] * 6]
    for column, found in enumerate([first, *others.values()]):
        boxes = found.detections.instances.pred_boxes
        best = int(pairwise_iou(first.detections.instances.pred_boxes, boxes)[0].argmax())
        maps = found.attention(best, found.num_layers - 1, "position")
        for row, cells in enumerate([maps.mean(0), maps[0], maps[1]]):
            assert np.array_equal(figure.axes[3 * row + column].images[0].get_array(), cells)
    assert tmp_path / "side_by_side.png" in save_figures(tmp_path, first, source="a.pth", beside=others)


@pytest.mark.parametrize(("name", "threshold", "what"), [("dab_detr", 1.0, "detections"), ("dino", 0.0, "maps")])
def test_what_cannot_be_drawn_side_by_side_is_named(name, threshold, what):
    found = explain(predictor(name), IMAGE, threshold=threshold, max_objects=1)
    with pytest.raises(ValueError, match=f"b.pth has no {what} to draw"):
        side_by_side({"b.pth": found})
