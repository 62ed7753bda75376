"""Arithmetic of boxes and anchors, against its properties, naive formulas and other libraries."""

import math

import pytest
import torch
from fvcore.nn import giou_loss
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torchvision.ops import box_convert, generalized_box_iou, generalized_box_iou_loss

from dab_detr.modeling.boxes import anchor_logits, full_precision, generalized_iou, inverse_sigmoid, move_anchors
from samples import random_boxes

EPS = st.sampled_from([1e-3, 1e-5])
MANY = settings(max_examples=100, deadline=None)


def numbers(low: float, high: float, count: int):
    return st.lists(st.floats(low, high), min_size=count, max_size=count).map(
        lambda x: torch.tensor(x, dtype=torch.float64)
    )


@st.composite
def xyxy(draw, least: float = 1e-3):
    """A box in float64 inside the unit square, with sides of `least` or more."""
    width, height, x, y = (draw(st.floats(0, 1)) for _ in range(4))
    width, height = (least + (1 - least) * side for side in (width, height))
    x, y = x * (1 - width), y * (1 - height)
    return torch.tensor([x, y, x + width, y + height], dtype=torch.float64)


def naive_giou(a: list[float], b: list[float], eps: float) -> float:
    def area(x1, y1, x2, y2):
        return max(x2 - x1, 0.0) * max(y2 - y1, 0.0)

    inside = area(max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3]))
    hull = area(min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3]))
    union = area(*a) + area(*b) - inside
    return inside / (union + eps) - (hull - union) / (hull + eps)


@MANY
@given(numbers(-6.9, 6.9, 8))
def test_inverse_sigmoid_undoes_sigmoid(logits):
    torch.testing.assert_close(inverse_sigmoid(logits.sigmoid(), eps=1e-3), logits, rtol=0, atol=1e-10)


@MANY
@given(numbers(0, 1, 8), EPS)
def test_sigmoid_undoes_inverse_sigmoid_up_to_eps(x, eps):
    expected = torch.where(x < eps, eps / (1 - x + eps), torch.where(1 - x < eps, x / (x + eps), x))
    torch.testing.assert_close(inverse_sigmoid(x, eps).sigmoid(), expected, rtol=1e-9, atol=0)


@MANY
@given(numbers(-2, 3, 8), EPS)
def test_inverse_sigmoid_is_clamped_and_odd_about_one_half(x, eps):
    logits = inverse_sigmoid(x, eps)
    assert logits.abs().max() <= -math.log(eps)
    torch.testing.assert_close(inverse_sigmoid(1 - x, eps), -logits, rtol=1e-9, atol=1e-9)
    assert torch.equal(logits[x <= 0], torch.full_like(logits[x <= 0], eps).log())


def test_inverse_sigmoid_does_not_hide_nan():
    assert inverse_sigmoid(torch.tensor(float("nan")), eps=1e-3).isnan()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_input_is_computed_in_fp32(dtype):
    x = torch.rand(50).to(dtype)
    assert torch.equal(inverse_sigmoid(x, eps=1e-3), inverse_sigmoid(x.float(), eps=1e-3))
    delta, anchors = torch.randn(50, 4).to(dtype), torch.rand(50, 2).to(dtype)
    logits = anchor_logits(anchors, eps=1e-3)
    assert torch.equal(logits, anchor_logits(anchors.float(), eps=1e-3))
    assert torch.equal(move_anchors(delta, logits), move_anchors(delta.float(), logits))


def test_full_precision_leaves_fp32_and_fp64_alone():
    for dtype in (torch.float32, torch.float64):
        x = torch.rand(3, dtype=dtype)
        assert full_precision(x) is x


@pytest.mark.parametrize("columns", [0, 2, 4])
@pytest.mark.parametrize("eps", [1e-3, 1e-5])
def test_move_anchors_moves_the_columns_an_anchor_has(columns, eps):
    delta, anchors = torch.randn(2, 7, 4), torch.rand(2, 7, columns)
    anchors[0, 0] = 0.0  # where eps decides
    expected = delta.clone()
    expected[..., :columns] += inverse_sigmoid(anchors, eps)
    logits = anchor_logits(anchors, eps)
    assert logits.shape == (2, 7, 4) and (logits[..., columns:] == 0).all()
    torch.testing.assert_close(move_anchors(delta, logits), expected.sigmoid())


@MANY
@given(numbers(1e-3, 1 - 1e-3, 4))
def test_move_anchors_by_nothing_is_the_anchor(anchors):
    moved = move_anchors(torch.zeros_like(anchors), anchor_logits(anchors, 1e-3))
    torch.testing.assert_close(moved, anchors, rtol=0, atol=1e-12)


@MANY
@given(xyxy(), xyxy())
def test_giou_is_bounded_and_symmetric(a, b):
    overlap = generalized_iou(a, b, eps=0)
    assert -1 <= overlap <= 1 + 1e-12
    assert overlap == generalized_iou(b, a, eps=0)


@MANY
@given(xyxy())
def test_giou_of_a_box_with_itself_is_one(box):
    assert generalized_iou(box, box, eps=0).item() == pytest.approx(1, abs=1e-12)


@MANY
@given(xyxy(0.01), xyxy(0.01), numbers(-3, 3, 2), st.floats(0.1, 10))
def test_giou_does_not_see_translation_and_scale(a, b, shift, scale):
    moved = (scale * x + shift.repeat(2) for x in (a, b))
    assert generalized_iou(*moved, eps=0).item() == pytest.approx(generalized_iou(a, b, eps=0).item(), abs=1e-8)


@MANY
@given(xyxy(), xyxy(), st.sampled_from([0.0, 1e-7, 1e-6, 1e-2]))
def test_giou_is_the_naive_formula_and_that_of_the_libraries(a, b, eps):
    overlap = generalized_iou(a, b, eps)
    assert overlap.item() == pytest.approx(naive_giou(a.tolist(), b.tolist(), eps), abs=1e-12)
    for library in (generalized_box_iou_loss, giou_loss):
        assert overlap.item() == pytest.approx(1 - library(a[None], b[None], eps=eps).item(), abs=1e-12)


@pytest.mark.parametrize(
    "other, expected",
    [
        ((2, 0, 3, 1), -1 / 3),
        ((1, 0, 2, 1), 0.0),
        ((0.5, 0, 1.5, 1), 1 / 3),
        ((0, 0, 0.5, 0.5), 0.25),
        ((1, 1, 2, 2), -0.5),
    ],
)
def test_giou_known_values(other, expected):
    box = torch.tensor([0.0, 0, 1, 1])
    assert generalized_iou(box, torch.tensor(other, dtype=torch.float32), eps=0).item() == pytest.approx(expected)


def test_giou_pairwise_by_broadcasting():
    a, b = (box_convert(random_boxes(n, seed=n), "cxcywh", "xyxy") for n in (6, 9))
    pairwise = generalized_iou(a[:, None], b[None], eps=0)
    torch.testing.assert_close(pairwise, generalized_box_iou(a, b))


@MANY
@given(xyxy(0), xyxy(0), st.booleans())
def test_giou_of_boxes_without_area_is_finite_in_value_and_gradient(a, b, same):
    a = a[[0, 1, 0, 3]].requires_grad_()
    overlap = generalized_iou(a, a.detach().clone() if same else b[[0, 1, 2, 1]], eps=1e-6)
    overlap.backward()
    assert overlap.isfinite() and a.grad.isfinite().all()


@MANY
@given(xyxy(0.05), xyxy(0.05))
def test_giou_has_the_gradient_of_torchvision(a, b):
    assume(all((a - x).abs().min() > 1e-6 for x in (b, b[[2, 3, 0, 1]])))  # at ties subgradients may differ
    gradients = []
    for loss in (lambda x: generalized_iou(x, b, 1e-6), lambda x: 1 - generalized_box_iou_loss(x, b, eps=1e-6)):
        x = a.clone().requires_grad_()
        gradients.append(torch.autograd.grad(loss(x), x)[0])
    torch.testing.assert_close(*gradients, rtol=1e-9, atol=1e-9)
