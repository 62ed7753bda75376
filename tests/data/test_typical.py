"""Typical boxes of a dataset: their units, and what k-means makes of them."""

import warnings

import numpy as np
import pytest
from detectron2.structures import BoxMode
from hypothesis import given, settings
from hypothesis import strategies as st

from dab_detr.data import typical
from dab_detr.data.typical import normalized_boxes, typical_boxes


def record(*boxes, mode=BoxMode.XYWH_ABS, crowd=0):
    """An image of 40 x 50 pixels."""
    objects = [{"bbox": list(x), "bbox_mode": mode, "iscrowd": crowd} for x in boxes]
    return {"width": 40, "height": 50, "annotations": objects}


def test_boxes_are_shares_of_their_image_in_any_mode():
    records = [record((10, 0, 20, 10)), record((10, 0, 30, 10), mode=BoxMode.XYXY_ABS), {"width": 9, "height": 9}]
    assert normalized_boxes(records) == pytest.approx(np.array([[0.5, 0.1, 0.5, 0.2]] * 2))


def test_crowds_and_empty_images_have_no_boxes():
    assert normalized_boxes([record((0, 0, 40, 50), crowd=1), record()]).shape == (0, 4)


def test_clusters_are_the_means_of_groups():
    random = np.random.default_rng(0)
    places = np.array([[0.2, 0.2, 0.1, 0.1], [0.7, 0.3, 0.4, 0.2], [0.5, 0.8, 0.2, 0.3]])
    boxes = (places[:, None] + random.normal(0, 0.005, (3, 200, 4))).reshape(-1, 4)
    found = typical_boxes(boxes, 3, np.random.default_rng(0))
    assert np.abs(found[np.lexsort(found.T[::-1])] - places[np.lexsort(places.T[::-1])]).max() < 0.002
    assert np.array_equal(found, typical_boxes(boxes, 3, np.random.default_rng(0)))


def test_as_few_boxes_as_anchors_stay_as_they_are():
    boxes = np.array([[0.5, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1], [0.5, 0.5, 0.2, 0.2]])
    for number in (2, 9):
        assert typical_boxes(boxes, number, np.random.default_rng(0)).tolist() == boxes[1::-1].tolist()
    assert typical_boxes(np.zeros((0, 4)), 3, np.random.default_rng(0)).shape == (0, 4)


def test_a_sample_of_many_boxes_is_enough(monkeypatch):
    """k-means is given that many boxes, each of them one of the data's."""
    monkeypatch.setattr(typical, "MOST", 50)
    given, kmeans = [], typical.kmeans2
    monkeypatch.setattr(
        typical, "kmeans2", lambda boxes, *args, **options: given.append(boxes) or kmeans(boxes, *args, **options)
    )
    boxes = np.repeat([[0.2, 0.2, 0.1, 0.1], [0.8, 0.8, 0.3, 0.3], [0.1, 0.9, 0.1, 0.1]], 100, 0)
    found = typical_boxes(boxes, 2, np.random.default_rng(0))
    assert found.shape == (2, 4) and given[0].shape == (50, 4)
    assert set(map(tuple, given[0])) <= set(map(tuple, boxes))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(*[st.sampled_from([0.0, 0.1, 0.5, 1.0])] * 4), max_size=30), st.integers(1, 12))
def test_any_boxes_give_finite_anchors_inside_their_bounds(boxes, number):
    boxes = np.array(boxes, dtype=float).reshape(-1, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = typical_boxes(boxes, number, np.random.default_rng(0))
    assert found.shape == (min(number, len(np.unique(boxes, axis=0))), 4)
    assert np.isfinite(found).all() and ((found >= 0) & (found <= 1)).all()
