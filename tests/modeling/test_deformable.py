"""Deformable attention against a loop over points, and where its heads look before they have learned anything."""

import math
from dataclasses import replace
from unittest import mock

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dab_detr.modeling import deformable
from dab_detr.modeling.deformable import DeformableAttention, deformable_sample, sample_from_bags, sample_from_grids
from dab_detr.modeling.structures import Memory, Position
from samples import random_boxes, random_memory, worst

B, Q, C, HEADS, POINTS = 2, 5, 8, 4, 3
LEVELS = {1: [[(4, 6), (3, 5)]], 3: [[(4, 6), (3, 5)], [(2, 3), (1, 3)], [(1, 1), (1, 1)]]}
CHANNELS = C // HEADS
MKL = torch.backends.mkl.is_available()


def bilinear(cells: torch.Tensor, x: float, y: float) -> torch.Tensor:
    """The map (H, W, c) at a point normalized by it; cells outside of it are zero."""
    height, width, channels = cells.shape
    column, row = x * width - 0.5, y * height - 0.5
    out = cells.new_zeros(channels)
    for i in (math.floor(row), math.floor(row) + 1):
        for j in (math.floor(column), math.floor(column) + 1):
            if 0 <= i < height and 0 <= j < width:
                out = out + cells[i, j] * (1 - abs(row - i)) * (1 - abs(column - j))
    return out


def naive(value: torch.Tensor, shapes, points: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """`deformable_sample`, one point after the other."""
    batch, queries, heads, levels, count, _ = points.shape
    maps = [x.unflatten(1, shape) for x, shape in zip(value.split([h * w for h, w in shapes], 1), shapes, strict=True)]
    out = value.new_zeros(batch, queries, heads, value.shape[-1])
    for b in range(batch):
        for q in range(queries):
            for h in range(heads):
                for level in range(levels):
                    for p in range(count):
                        x, y = points[b, q, h, level, p].tolist()
                        out[b, q, h] += weights[b, q, h, level, p] * bilinear(maps[level][b, :, :, h], x, y)
    return out.flatten(2)


def sample(levels: int, low: float = -0.3, high: float = 1.3) -> tuple:
    """Values, shapes, points and weights in float64; points between `low` and `high` on both axes."""
    shapes = tuple(sizes[0] for sizes in LEVELS[levels])
    value = torch.randn(B, sum(h * w for h, w in shapes), HEADS, CHANNELS, dtype=torch.float64)
    points = low + (high - low) * torch.rand(B, Q, HEADS, levels, POINTS, 2, dtype=torch.float64)
    return value, shapes, points, torch.rand(B, Q, HEADS, levels, POINTS, dtype=torch.float64)


@pytest.mark.parametrize("form", [sample_from_grids, sample_from_bags])
@pytest.mark.parametrize("levels", LEVELS)
def test_sampling_is_a_loop_over_points(levels, form):
    value, shapes, points, weights = sample(levels)
    out = form(value, shapes, points, weights)
    assert out.shape == (B, Q, HEADS * CHANNELS)
    assert worst(out, naive(value, shapes, points, weights)) < 1e-12


SIDES = st.integers(1, 6)
COORDINATES = st.one_of(st.floats(-2, 3), st.sampled_from([0.0, 0.5, 1.0, -0.5, 1e30, -1e30, math.nan]))


@settings(deadline=None, max_examples=60)
@given(
    shapes=st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=3),
    batch=st.integers(1, 3),
    queries=st.integers(0, 4),
    coordinates=st.lists(COORDINATES, min_size=1, max_size=7),
)
def test_bags_are_grids_wherever_the_points_lie(shapes, batch, queries, coordinates):
    """Points on borders and outside, NaN, levels of one cell, no queries."""
    value = torch.randn(batch, sum(h * w for h, w in shapes), 2, 3, dtype=torch.float64)
    count = batch * queries * 2 * len(shapes) * 2 * 2
    points = torch.tensor((coordinates * (count // len(coordinates) + 1))[:count], dtype=torch.float64)
    points = points.view(batch, queries, 2, len(shapes), 2, 2)
    weights = torch.rand(points.shape[:-1], dtype=torch.float64)
    arguments = value, tuple(shapes), points, weights
    bags, grids = sample_from_bags(*arguments), sample_from_grids(*arguments)
    torch.testing.assert_close(bags, grids, rtol=0, atol=1e-12, equal_nan=True)


def test_infinite_points_read_nothing():
    value, shapes, points, weights = sample(3)
    assert sample_from_bags(value, shapes, points * math.inf, weights).abs().max() == 0


@settings(deadline=None, max_examples=40)
@given(
    shapes=st.lists(st.tuples(SIDES, SIDES), min_size=1, max_size=3),
    batch=st.integers(1, 3),
    queries=st.integers(0, 4),
    coordinates=st.lists(COORDINATES.filter(math.isfinite), min_size=1, max_size=7),
    mkl=st.booleans(),
)
def test_gradients_of_bags_are_those_of_grids_wherever_the_points_lie(shapes, batch, queries, coordinates, mkl):
    """With MKL's products of sparse matrices, where this torch has them, and without."""
    value = torch.randn(batch, sum(h * w for h, w in shapes), 2, 3, dtype=torch.float64)
    shape = batch, queries, 2, len(shapes), 2
    points = torch.tensor(coordinates, dtype=torch.float64).repeat(2 * math.prod(shape))[: 2 * math.prod(shape)]
    given = [x.requires_grad_() for x in (value, points.view(*shape, 2), torch.rand(shape, dtype=torch.float64))]
    grad = torch.randn(batch, queries, 6, dtype=torch.float64)
    with mock.patch.object(torch.backends.mkl, "is_available", lambda: mkl and MKL):
        bags, grids = (
            torch.autograd.grad(form(given[0], tuple(shapes), *given[1:]), given, grad)
            for form in (sample_from_bags, sample_from_grids)
        )
    for a, b in zip(bags, grids, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-9)


def test_gradients_of_bags_in_training_with_bf16_are_in_the_types_of_the_inputs():
    value, shapes, points, weights = sample(3)
    given = [x.requires_grad_() for x in (value.bfloat16(), points.float(), weights.bfloat16())]
    out = sample_from_bags(given[0], shapes, *given[1:])
    grads = torch.autograd.grad(out.sum(), given)
    exact = [x.detach().double().requires_grad_() for x in given]
    for a, b, x in zip(
        grads, torch.autograd.grad(sample_from_grids(exact[0], shapes, *exact[1:]).sum(), exact), given, strict=True
    ):
        assert a.dtype == x.dtype
        assert worst(a.double(), b) < 0.02 * b.abs().max()


def test_many_queries_are_sampled_from_bags(monkeypatch):
    value, shapes, points, weights = sample(3)
    monkeypatch.setattr(deformable, "sample_from_bags", lambda *_: "bags")
    monkeypatch.setattr(deformable, "BAG_FROM", Q)
    assert deformable_sample(value, shapes, points, weights) == "bags"
    assert deformable_sample(value, shapes, points[:, :-1], weights[:, :-1]) != "bags"
    monkeypatch.setattr(deformable, "INT32_MAX", 4 * B * Q * HEADS * 3 * POINTS)
    assert deformable_sample(value, shapes, points, weights) != "bags"


def test_bags_in_16_bits_are_those_of_full_precision_rounded():
    value, shapes, points, weights = sample(3)
    exact = sample_from_bags(value, shapes, points, weights)
    found = sample_from_bags(value.bfloat16(), shapes, points.float(), weights.bfloat16())
    assert found.dtype == torch.bfloat16
    assert worst(found.double(), exact) < 0.03 * exact.abs().max()


@pytest.mark.parametrize(
    "x, y, expected",
    [
        (0.5 / 3, 0.5 / 2, 1.0),  # the centre of the first cell
        (2.5 / 3, 0.5 / 2, 3.0),  # along x, of the third
        (0.5 / 3, 1.5 / 2, 4.0),  # along y, of the second row
        (1 / 3, 0.5 / 2, 1.5),  # between two cells
        (1 / 3, 1 / 2, 3.0),  # between four
        (0.0, 0.5 / 2, 0.5),  # on the border: half a cell, and half of nothing
        (0.0, 0.0, 0.25),
        (-0.5 / 3, 0.5 / 2, 0.0),
        (7.0, 0.5 / 2, 0.0),
    ],
)
def test_known_points(x, y, expected):
    value = torch.arange(1.0, 7).view(1, 6, 1, 1)  # [[1, 2, 3], [4, 5, 6]]
    out = deformable_sample(value, ((2, 3),), torch.tensor([x, y]).view(1, 1, 1, 1, 1, 2), torch.ones(1, 1, 1, 1, 1))
    assert out.item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("levels", LEVELS)
def test_gradients(levels):
    value, shapes, points, weights = sample(levels, low=-0.1, high=1.1)
    inputs = [x[:, :2].requires_grad_() if x is not value else x.requires_grad_() for x in (value, points, weights)]
    assert torch.autograd.gradcheck(lambda v, p, w: deformable_sample(v, shapes, p, w), inputs, fast_mode=True)


def attention(levels: int = 3, heads: int = HEADS) -> DeformableAttention:
    """With weights that differ, so that every query looks elsewhere, some out of the map."""
    module = DeformableAttention(dim=C, heads=heads, levels=levels, points=POINTS)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def inputs(levels: int, columns: int, dtype: torch.dtype = torch.float32) -> tuple[torch.Tensor, Position, Memory]:
    memory = random_memory(*LEVELS[levels], dim=C, dtype=dtype)
    content, embed = torch.randn(2, B, Q, C, dtype=dtype)
    return content, Position(embed, anchors=random_boxes(B, Q)[..., :columns].to(dtype)), memory


@pytest.mark.parametrize("columns", [2, 4])
@pytest.mark.parametrize("levels", LEVELS)
def test_attention_samples_around_anchors_and_weighs_by_one_softmax(levels, columns):
    """Offsets are cells around points, halves of the box around boxes; anchors are relative to what is image."""
    (content, position, memory), module = inputs(levels, columns, torch.float64), attention(levels).double()
    query = content + position.embed
    offsets = module.offsets(query).view(B, Q, HEADS, levels, POINTS, 2)
    weights = module.weights(query).view(B, Q, HEADS, levels * POINTS).softmax(-1).view(B, Q, HEADS, levels, POINTS)
    points = torch.zeros_like(offsets)
    for level, (height, width) in enumerate(memory.shapes):
        for b in range(B):
            valid_h, valid_w = LEVELS[levels][level][b]
            ratio = torch.tensor([valid_w / width, valid_h / height], dtype=torch.float64)
            for q in range(Q):
                x = position.anchors[b, q]
                unit = 1 / torch.tensor([width, height]).double() if columns == 2 else x[2:] * ratio / 2 / POINTS
                points[b, q, :, level] = x[:2] * ratio + offsets[b, q, :, level] * unit
    value = module.value(memory.content).masked_fill(memory.padding[..., None], 0).unflatten(-1, (HEADS, CHANNELS))
    expected = module.out(naive(value, memory.shapes, points, weights))
    assert worst(module(content, position, memory), expected) < 1e-12


@pytest.mark.parametrize("fill", [1e4, -1e30, float("inf"), float("nan")])
def test_values_of_padded_cells_do_not_matter(fill):
    (content, position, memory), module = inputs(3, 4), attention()
    plain = module(content, position, memory)
    other = memory.content.masked_fill(memory.padding[..., None], fill)
    assert torch.equal(module(content, position, replace(memory, content=other)), plain)
    seen = module(content, position, replace(memory, padding=torch.zeros_like(memory.padding)))
    assert worst(seen[1], plain[1]) > 1e-3  # they were looked at


def test_an_image_answers_as_it_does_alone():
    (content, position, memory), module = inputs(3, 4), attention()
    together = module(content, position, memory)
    for b in range(B):
        alone = {name: getattr(memory, name)[b : b + 1] for name in ("content", "position", "padding", "valid_ratios")}
        position_alone = Position(position.embed[b : b + 1], anchors=position.anchors[b : b + 1])
        assert worst(module(content[b : b + 1], position_alone, replace(memory, **alone)), together[b : b + 1]) < 1e-6


def test_every_head_starts_in_its_own_direction_and_reaches_further_with_every_point():
    module = attention(levels=2, heads=8)
    value, out = module.value.weight.clone(), module.out.weight.clone()
    module.reset_special_weights()
    directions = torch.tensor([(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)])
    offsets = module.offsets(torch.randn(3, C)).view(3, 8, 2, POINTS, 2)
    for head in range(8):
        for point in range(POINTS):
            expected = (directions[head] * (point + 1.0)).expand(3, 2, -1)
            assert worst(offsets[:, head, :, point], expected) < 1e-5
    assert (module.weights(torch.randn(3, C)) == 0).all()  # all points weigh the same
    assert (module.value.bias == 0).all() and (module.out.bias == 0).all()
    assert torch.equal(module.value.weight, value) and torch.equal(module.out.weight, out)


def test_directions_of_a_number_of_heads_that_does_not_divide_the_circle_by_eight():
    module = DeformableAttention(dim=9, heads=3, levels=1, points=1)
    module.reset_special_weights()
    directions = module.offsets.bias.view(3, 2)
    assert worst(directions.abs().amax(-1), torch.ones(3)) < 1e-6
    angles = torch.atan2(directions[:, 1], directions[:, 0]).rad2deg() % 360
    torch.testing.assert_close(angles, torch.tensor([0.0, 120.0, 240.0]), rtol=0, atol=1e-3)


def test_sampling_points_are_as_precise_as_anchors_under_autocast():
    """In 16 bits a point would be off by a large part of a cell."""
    (content, position, memory), module = inputs(3, 4), attention()
    seen = []
    plain = deformable_sample
    module.sample = lambda *args: seen.append(args[2]) or plain(*args)
    for parameter in module.offsets.parameters():
        nn.init.zeros_(parameter)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = module(content, position, memory)
    assert out.isfinite().all()
    expected = position.anchors[:, :, None, :2] * memory.valid_ratios[:, None]
    assert worst(seen[0].float()[:, :, 0, :, 0], expected) < 1e-6


def test_heads_must_divide_channels():
    with pytest.raises(ValueError, match="dim=8 must be a multiple of heads=3"):
        DeformableAttention(dim=8, heads=3, levels=1, points=1)
