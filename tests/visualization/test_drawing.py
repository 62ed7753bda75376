"""Boxes on images: where they are, whose color they have, and that they can be read."""

import numpy as np
import pytest
from detectron2.utils.visualizer import Visualizer

from dab_detr.visualization.drawing import COLORS, draw_boxes, make_readable


@pytest.mark.parametrize("background", [0, 255])
def test_a_box_has_the_color_of_its_class(background):
    image = np.full((60, 90, 3), background, np.uint8)
    drawn = draw_boxes(image, np.array([[20.0, 15, 70, 45]]), labels=[len(COLORS) + 3], texts=[""])
    assert drawn.shape == image.shape and drawn.dtype == np.uint8
    assert np.abs(drawn[30, 20] - COLORS[3] * 255).max() < 3
    assert (drawn[30, 45] == background).all()
    assert (image == background).all()


def test_no_boxes_leave_the_image_as_it_is():
    image = np.random.default_rng(0).integers(256, size=(31, 47, 3), dtype=np.uint8)
    assert np.array_equal(draw_boxes(image, np.zeros((0, 4)), labels=[], texts=[]), image)


def test_labels_stay_inside_the_image():
    drawn = Visualizer(np.zeros((40, 60, 3), np.uint8)).overlay_instances(
        boxes=np.array([[50.0, 10, 59, 30]]), labels=["a long name"]
    )
    (label,) = drawn.ax.texts
    renderer = drawn.canvas.get_renderer()
    assert label.get_window_extent(renderer).x1 > 60
    make_readable(drawn)
    assert label.get_window_extent(renderer).x1 < 60


def test_labels_of_overlapping_boxes_lie_apart():
    boxes = np.array([[20.0, 40, 180, 190]] * 5)
    drawn = Visualizer(np.zeros((200, 200, 3), np.uint8)).overlay_instances(boxes=boxes, labels=["cat"] * 5)
    make_readable(drawn)
    renderer = drawn.canvas.get_renderer()
    extents = [label.get_window_extent(renderer) for label in drawn.ax.texts]
    assert not any(a.overlaps(b) for i, a in enumerate(extents) for b in extents[:i])
    assert all(extent.y0 >= 0 and extent.y1 <= 200 for extent in extents)


def test_a_picture_without_room_still_has_all_labels():
    boxes = np.array([[1.0, 1, 19, 9]] * 9)
    picture = draw_boxes(np.zeros((10, 20, 3), np.uint8), boxes, labels=[0] * 9, texts=["bar $%d$"] * 9)
    assert picture.shape == (10, 20, 3) and picture.any()
