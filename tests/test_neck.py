"""From feature map to memory: order of the cells, and what becomes of the padding."""

import pytest
import torch

from dab_detr.modeling.neck import SingleScaleNeck
from dab_detr.modeling.positional import PositionMap


def small_neck() -> SingleScaleNeck:
    return SingleScaleNeck(feature="res5", in_channels=6, dim=8, position=PositionMap(dim=8))


def padding_of(sizes: list[tuple[int, int]], height: int, width: int) -> torch.Tensor:
    padding = torch.ones(len(sizes), height, width, dtype=torch.bool)
    for i, (h, w) in enumerate(sizes):
        padding[i, :h, :w] = False
    return padding


def test_cells_are_projected_and_laid_out_row_by_row():
    neck = small_neck()
    assert neck.in_channels == {"res5": 6}
    feature, padding = torch.randn(2, 6, 3, 4), padding_of([(96, 128), (96, 128)], 96, 128)
    memory = neck({"res4": torch.zeros(1), "res5": feature}, padding)
    assert memory.content.shape == memory.position.shape == (2, 12, 8) and memory.padding.shape == (2, 12)
    assert not memory.padding.any()
    weight, bias = neck.projection.weight[:, :, 0, 0], neck.projection.bias
    for i in range(3):
        for j in range(4):
            torch.testing.assert_close(memory.content[:, 4 * i + j], feature[:, :, i, j] @ weight.T + bias)
    expected = PositionMap(dim=8)(torch.zeros(2, 3, 4, dtype=torch.bool))
    assert torch.equal(memory.position, expected.flatten(1, 2))


@pytest.mark.parametrize("height, width, h, w", [(100, 133, 4, 5), (64, 64, 4, 4), (97, 65, 7, 5)])
def test_a_cell_is_padded_where_its_nearest_pixel_is(height, width, h, w):
    sizes = [(height, width), (height // 2, width // 3), (1, 1), (height - 1, 2)]
    padding = padding_of(sizes, height, width)
    memory = small_neck()({"res5": torch.randn(4, 6, h, w)}, padding)
    rows = torch.tensor([i * height // h for i in range(h)])
    columns = torch.tensor([j * width // w for j in range(w)])
    expected = padding[:, rows][:, :, columns]
    assert torch.equal(memory.padding, expected.flatten(1))
    assert torch.equal(memory.position, PositionMap(dim=8)(expected).flatten(1, 2))
    assert not memory.padding.all(1).any()  # even an image of one pixel keeps a cell


@pytest.mark.parametrize("fill", [1e4, -1e30, 1e38, float("inf"), float("nan")])
def test_padded_cells_are_zero_whatever_the_backbone_leaves_there(fill):
    feature, padding = torch.randn(2, 6, 3, 4), padding_of([(96, 128), (64, 96)], 96, 128)
    feature[1, :, 2:] = fill
    feature[1, :, :, 3:] = fill
    memory = small_neck()({"res5": feature}, padding)
    assert memory.padding[1].sum() == 6
    assert (memory.content[memory.padding] == 0).all()
    assert memory.content.isfinite().all() and (memory.content[~memory.padding] != 0).any()


def test_position_has_the_dtype_of_the_content():
    neck, padding = small_neck(), padding_of([(64, 64)], 64, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        memory = neck({"res5": torch.randn(1, 6, 2, 2)}, padding)
    assert memory.content.dtype == memory.position.dtype == torch.bfloat16
