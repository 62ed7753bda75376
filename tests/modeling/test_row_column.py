"""Row-column attention against a loop over its formula, and what padding does to it."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from dab_detr.modeling.row_column import RowColumnAttention
from dab_detr.modeling.structures import Memory, Position
from samples import random_memory, worst

B, Q, C, HEADS = 2, 5, 12, 3
WIDE, TALL = [(3, 5), (2, 3)], [(6, 4), (4, 1)]  # what of the map is image, in each of two images


def attention() -> RowColumnAttention:
    module = RowColumnAttention(dim=C, heads=HEADS).double()
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.5)
    return module


def inputs(sizes: list[tuple[int, int]]) -> tuple[torch.Tensor, Position, Memory]:
    memory = random_memory(sizes, dim=C, position_dim=2 * C, dtype=torch.float64)
    spatial = torch.randn(B, Q, 2 * C, dtype=torch.float64)
    return torch.randn(B, Q, C, dtype=torch.float64), Position(torch.zeros(0), spatial=spatial), memory


def naive(module, content, position, memory, sizes, *, masked: bool = True, mean_of_image: bool = False):
    """One image, query and head after the other, in the notation of the paper: A_x over columns, A_y over rows.

    masked: whether padded columns and rows have no weight. mean_of_image: whether keys are means over unpadded cells.
    """
    height, width = memory.shapes[0]
    out = torch.zeros(B, Q, C, dtype=torch.float64)
    for b in range(B):
        valid_h, valid_w = sizes[b] if masked else (height, width)
        mean_h, mean_w = sizes[b] if mean_of_image else (height, width)
        cells = memory.content[b].view(height, width, C)
        at_y, at_x = memory.position[b].view(height, width, 2 * C).chunk(2, -1)
        key_x = module.key_row((cells + at_x)[:mean_h].mean(0))  # of each column
        key_y = module.key_column((cells + at_y)[:, :mean_w].mean(1))  # of each row
        value = module.value(cells)
        for q in range(Q):
            y, x = position.spatial[b, q].chunk(2)
            query_x, query_y = module.query_row(content[b, q] + x), module.query_column(content[b, q] + y)
            for channels in torch.arange(C).chunk(HEADS):
                scale = len(channels) ** -0.5
                a_x = (key_x[:valid_w, channels] @ query_x[channels] * scale).exp()
                a_y = (key_y[:valid_h, channels] @ query_y[channels] * scale).exp()
                a_x, a_y = a_x / a_x.sum(), a_y / a_y.sum()
                seen = value[:valid_h, :valid_w, channels]
                out[b, q, channels] = torch.einsum("h,w,hwc->c", a_y, a_x, seen)
    return module.out(out)


@pytest.mark.parametrize("sizes", [WIDE, TALL], ids=["wide", "tall"])
def test_is_attention_over_rows_times_attention_over_columns(sizes):
    """Padding has no weight, but is part of the means, as in the original."""
    module, (content, position, memory) = attention(), inputs(sizes)
    out = module(content, position, memory)
    assert out.shape == (B, Q, C)
    assert worst(out, naive(module, content, position, memory, sizes)) < 1e-12
    for other in ({"masked": False}, {"mean_of_image": True}):
        changed = (out - naive(module, content, position, memory, sizes, **other)).abs().amax((1, 2))
        assert changed[0] < 1e-12 and changed[1] > 1e-3  # the first image has no padding


def test_cells_whose_row_and_column_are_padded_change_nothing():
    module, (content, position, memory) = attention(), inputs(WIDE)
    corner = torch.zeros(B, *memory.shapes[0], dtype=torch.bool)
    corner[1, 2:, 3:] = True
    other = memory.content.masked_fill(corner.flatten(1)[..., None], 1e4)
    plain = module(content, position, memory)
    assert worst(module(content, position, replace(memory, content=other)), plain) < 1e-12


def test_where_all_keys_are_alike_the_answer_is_the_mean_of_the_image():
    module, (content, position, memory) = attention(), inputs(WIDE)
    for key in (module.key_row, module.key_column):
        nn.init.zeros_(key.weight)
    value = module.value(memory.content).view(B, *memory.shapes[0], C)
    for b, (h, w) in enumerate(WIDE):
        expected = module.out(value[b, :h, :w].mean((0, 1))).expand(Q, -1)
        assert worst(module(content, position, memory)[b], expected) < 1e-12


def test_gradients_reach_every_projection():
    module, (content, position, memory) = attention(), inputs(WIDE)
    module(content, position, memory).square().sum().backward()
    for name, parameter in module.named_parameters():
        if name not in ("key_row.bias", "key_column.bias"):  # softmax does not see a constant on the keys
            assert parameter.grad.abs().sum() > 1e-6, name


def test_projections_start_as_one_matrix_of_five():
    module = RowColumnAttention(dim=60, heads=3)
    for parameter in module.parameters():
        nn.init.ones_(parameter)
    module.reset_special_weights()
    for projection in (module.query_row, module.query_column, module.key_row, module.key_column, module.value):
        assert projection.weight.abs().max().item() == pytest.approx((6 / (60 + 5 * 60)) ** 0.5, rel=0.02)
        assert (projection.bias == 0).all()
    assert (module.out.bias == 0).all() and (module.out.weight == 1).all()


def test_heads_must_divide_channels():
    with pytest.raises(ValueError, match="dim=12 must be a multiple of heads=5"):
        RowColumnAttention(dim=12, heads=5)
