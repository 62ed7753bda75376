"""Anchors belong to the objects that mmdetection gives them to, and deltas undo each other."""

import numpy as np
import pytest
import torch
from torchvision.ops import box_convert

from dab_detr.modeling.anchors import (
    anchor_grid,
    assign_atss,
    assign_max_iou,
    cells_inside,
    decode_deltas,
    draw,
    encode_deltas,
    sample,
)
from golden_cases import GOLDEN
from samples import random_boxes

CASES = dict(np.load(GOLDEN / "codetr_assigners.npz"))


@pytest.mark.parametrize("case", range(9))
def test_assignment_is_that_of_mmdetection(case):
    anchors, boxes = (torch.from_numpy(CASES[f"{name}{case}"]) for name in ("anchors", "gt"))
    objects = assign_atss(anchors, CASES[f"counts{case}"].tolist(), boxes)
    assert np.array_equal(objects.numpy(), CASES[f"atss{case}"])
    objects = assign_max_iou(anchors, boxes, 0.3, 0.7, best_from=0.3)
    assert np.array_equal(objects.numpy(), CASES[f"max_iou{case}"])


def squares(*centers: tuple[float, float], side: float) -> torch.Tensor:
    return box_convert(torch.tensor([[x, y, side, side] for x, y in centers]), "cxcywh", "xyxy")


def test_atss_by_hand():
    """Three candidates of IoU 1, 1/3 and 0: mean 4/9 and deviation 0.509 make a threshold of 0.954."""
    anchors = squares((10, 10), (15, 10), (30, 10), side=10)
    objects = assign_atss(anchors, [3], squares((10, 10), side=10))
    assert objects.tolist() == [0, -1, -1]


def test_atss_takes_candidates_from_every_level():
    """Each level gives its nearest anchor: IoU 1 and 1/4, threshold 5/8 + 0.53 = 1.155; none reaches it."""
    levels = squares((10, 10), side=10), squares((10, 10), side=20)
    assert assign_atss(torch.cat(levels), [1, 1], squares((10, 10), side=10)).tolist() == [-1, -1]


def test_an_anchor_of_two_objects_goes_to_the_better_one():
    anchors = squares((10, 10), side=10)
    boxes = squares((12, 10), (11, 10), side=10)
    assert assign_atss(anchors, [1], boxes).tolist() == [1]


def test_one_candidate_has_no_deviation():
    assert assign_atss(squares((10, 10), side=10), [1], squares((11, 10), side=4)).tolist() == [0]


def test_an_object_smaller_than_a_cell_may_get_no_anchor():
    anchors = squares(*((x, y) for y in (0, 8, 16) for x in (0, 8, 16)), side=64)
    assert (assign_atss(anchors, [9], squares((4, 4), side=2)) == -1).all()


def test_an_object_may_get_its_best_anchor_though_that_overlaps_another_more():
    anchors, boxes = squares((10, 10), side=10), squares((10, 10), (14, 10), side=10)
    assert assign_max_iou(anchors, boxes, 0.3, 0.7, best_from=0.3).tolist() == [1]
    assert assign_max_iou(anchors, boxes, 0.3, 0.7).tolist() == [0]


def test_an_object_without_any_overlap_gets_no_anchor():
    """In Detectron2 it would get all that no object overlaps, for they all tie."""
    anchors = squares((10, 10), (20, 20), side=4)
    assert assign_max_iou(anchors, squares((90, 90), side=4), 0.3, 0.7, best_from=0.3).tolist() == [-1, -1]


def test_deltas_undo_each_other():
    anchors, boxes = (100 * box_convert(random_boxes(20, seed=i), "cxcywh", "xyxy").double() for i in (0, 1))
    torch.testing.assert_close(decode_deltas(encode_deltas(anchors, boxes), anchors), boxes)


def test_anchors_begin_at_the_corner_of_the_image():
    (boxes,) = anchor_grid([[8.0]], [1.0], [4])([torch.zeros(1, 1, 2, 3)])
    assert box_convert(boxes.tensor, "xyxy", "cxcywh")[:, :2].tolist() == [[x, y] for y in (0, 4) for x in (0, 4, 8)]


def test_cells_inside_begin_in_the_image():
    inside = cells_inside((3, 4), 8, (9, 24), torch.device("cpu"))
    assert inside.tolist() == [[True] * 3 + [False]] * 2 + [[False] * 4]


def test_samples():
    objects = torch.tensor([0, 1, 2, 3, -1, -1, -1, -2, 4])
    chosen = sample(objects, 4, 0.5, torch.Generator().manual_seed(0))
    assert (objects[chosen[:2]] >= 0).all() and (objects[chosen[2:]] == -1).all() and len(chosen) == 4
    assert torch.equal(chosen, sample(objects, 4, 0.5, torch.Generator().manual_seed(0)))
    few = sample(torch.tensor([0, -1, -2]), 4, 0.5, None)
    assert few.tolist() == [0, 1]


def test_draws_keep_the_order():
    assert draw(torch.arange(5), 5, None).tolist() == [0, 1, 2, 3, 4]
    drawn = draw(torch.arange(100), 10, torch.Generator().manual_seed(1))
    assert len(drawn) == 10 and (drawn.diff() > 0).all()


@pytest.mark.parametrize("shift", [0.0, 1e-5, -1e-5])
def test_rounding_does_not_decide_between_two_best_anchors(shift):
    """An object in the middle between two anchors has both."""
    anchors = torch.tensor([[0.0, 0.0, 16.0, 16.0], [8.0, 0.0, 24.0, 16.0]])
    assert assign_max_iou(anchors, torch.tensor([[4 + shift, 0, 20 + shift, 16]]), 0.3, 0.7, 0.3).tolist() == [0, 0]
