"""Sine encodings against the formula, cell by cell."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dab_detr.modeling.positional import PositionMap, RowColumnMap, sine_embedding
from samples import worst


def naive_sine(coordinate: float, dim: int, temperature: float) -> list[float]:
    phases = [2 * math.pi * coordinate / temperature ** (2 * (i // 2) / dim) for i in range(dim)]
    return [math.cos(phase) if i % 2 else math.sin(phase) for i, phase in enumerate(phases)]


@settings(max_examples=50, deadline=None)
@given(
    anchor=st.lists(st.floats(0, 1), min_size=4, max_size=4),
    columns=st.sampled_from([2, 4]),
    dim=st.sampled_from([2, 6, 8, 10]),
    temperature=st.sampled_from([10.0, 20, 10000]),
)
def test_sine_embedding_is_the_formula_in_the_order_y_x_w_h(anchor, columns, dim, temperature):
    anchor = anchor[:columns]
    x, y, *size = (naive_sine(value, dim, temperature) for value in anchor)
    expected = torch.tensor([*y, *x, *sum(size, [])], dtype=torch.float64)
    got = sine_embedding(torch.tensor(anchor, dtype=torch.float64), dim, temperature)
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-12)


def test_sine_embedding_with_a_temperature_for_each_column():
    points = torch.rand(2, 5, 2)
    both = sine_embedding(points, 8, torch.tensor([10.0, 20.0]))
    y, x = sine_embedding(points, 8, 20)[..., :8], sine_embedding(points, 8, 10)[..., 8:]
    assert both.shape == (2, 5, 16)
    torch.testing.assert_close(both, torch.cat([y, x], -1))


def test_sine_embedding_of_16_bit_coordinates_is_fp32():
    points = torch.rand(6, 4).bfloat16()
    assert torch.equal(sine_embedding(points, 8), sine_embedding(points.float(), 8))


def padding_beyond(height: int, width: int, size: tuple[int, int]) -> torch.Tensor:
    padding = torch.ones(1, *size, dtype=torch.bool)
    padding[:, :height, :width] = False
    return padding


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 5), st.integers(0, 5), st.sampled_from([0.0, -0.5]))
def test_padding_moves_nothing(height, width, below, right, offset):
    position = PositionMap(dim=16, offset=offset)
    alone = position(padding_beyond(height, width, (height, width)))
    padded = position(padding_beyond(height, width, (height + below, width + right)))
    assert torch.equal(padded[:, :height, :width], alone)
    assert padded.isfinite().all()


@pytest.mark.parametrize("offset", [0.0, -0.5])
def test_position_map_is_the_encoding_of_the_rank_of_each_cell(offset):
    position = PositionMap(dim=16, temperature_x=10, temperature_y=30, offset=offset).double()
    padding = padding_beyond(3, 5, (4, 7))
    got = position(padding)
    assert got.shape == (1, 4, 7, 16) and got.dtype == torch.float64
    for i in range(3):
        for j in range(5):
            y, x = (i + 1 + offset) / (3 + 1e-6), (j + 1 + offset) / (5 + 1e-6)
            expected = naive_sine(y, 8, 30) + naive_sine(x, 8, 10)
            assert worst(got[0, i, j], torch.tensor(expected, dtype=torch.float64)) < 1e-12


def test_defaults_are_those_of_dab_detr():
    padding = torch.zeros(1, 3, 4, dtype=torch.bool)
    explicit = PositionMap(dim=8, temperature_x=20, temperature_y=20, offset=0.0)
    assert torch.equal(PositionMap(dim=8)(padding), explicit(padding))
    anchors = torch.rand(5, 4)
    assert torch.equal(sine_embedding(anchors, 8), sine_embedding(anchors, 8, 10000))


def test_temperature_is_no_part_of_a_checkpoint_but_moves_with_the_module():
    position = PositionMap(dim=8)
    assert not position.state_dict()
    assert position.double().temperature.dtype == torch.float64


@pytest.mark.parametrize("size, image", [((3, 5), (3, 5)), ((3, 5), (2, 3)), ((6, 2), (4, 1))])
def test_row_column_map_encodes_the_centers_of_rows_and_columns_by_one_mlp(size, image):
    """Relative to the extent of the image, by the formula for one coordinate of all channels: y first, then x."""
    position = RowColumnMap(dim=8, temperature=20.0)
    encoded = position(padding_beyond(*image, size))
    assert encoded.shape == (1, *size, 16) and encoded.isfinite().all()
    for i in range(image[0]):
        for j in range(image[1]):
            for half, coordinate in enumerate(((i + 0.5) / image[0], (j + 0.5) / image[1])):
                expected = position.mlp(torch.tensor(naive_sine(coordinate, 8, 20.0)))
                assert worst(encoded[0, i, j, 8 * half : 8 * half + 8], expected) < 1e-5


def test_points_are_encoded_as_rows_and_columns_are():
    position = RowColumnMap(dim=8)
    cells = position(torch.zeros(1, 2, 4, dtype=torch.bool))
    points = torch.tensor([[0.125, 0.25], [0.875, 0.75]])  # the centers of the first and of the last cell
    assert worst(position.encode(points), cells[0, [0, 1], [0, 3]]) < 1e-6
    assert position.temperature == 10000


def test_maps_of_several_images_differ_by_their_padding_only():
    position = RowColumnMap(dim=8)
    padding = torch.cat([padding_beyond(3, 4, (3, 4)), padding_beyond(2, 4, (3, 4))])
    both = position(padding)
    assert worst(both[:1], position(padding[:1])) < 1e-6 and worst(both[1:], position(padding[1:])) < 1e-6
    assert worst(both[0, ..., 8:], both[1, ..., 8:]) < 1e-6 and worst(both[0, :2, :, :8], both[1, :2, :, :8]) > 1e-3


def test_row_column_map_in_float64():
    """Coordinates in fp32 would be off by some 1e-8; with thirds there is a remainder to lose."""
    position = RowColumnMap(dim=8).double()
    encoded = position(torch.zeros(1, 3, 3, dtype=torch.bool))
    expected = position.encode(torch.tensor([[0.5 / 3, 2.5 / 3]], dtype=torch.float64))
    assert encoded.dtype == torch.float64 and worst(encoded[0, 2, 0], expected[0]) < 1e-13
