"""From feature maps to memory: order of the cells and of the levels, and what becomes of the padding."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from dab_detr.modeling.neck import MultiScaleNeck, SingleScaleNeck
from dab_detr.modeling.positional import PositionMap
from samples import random_memory, worst


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


CHANNELS = {"res3": 4, "res4": 6}
IMAGES = [(96, 128), (50, 72)]
FEATURES = {"res2": (24, 32), "res3": (12, 16), "res4": (6, 8)}


def multi_scale(num_levels: int = 4, **options) -> MultiScaleNeck:
    """With weights that differ; further maps below those of the backbone."""
    position = PositionMap(dim=8, temperature_x=10000, temperature_y=10000, offset=-0.5)
    neck = MultiScaleNeck(in_channels=CHANNELS, num_levels=num_levels, dim=8, position=position, groups=2, **options)
    for parameter in neck.parameters():
        nn.init.normal_(parameter)
    return neck


def features() -> dict[str, torch.Tensor]:
    return {name: torch.randn(2, CHANNELS.get(name, 5), *size) for name, size in FEATURES.items()}


def levels_of(memory) -> list[torch.Tensor]:
    """Content (B, h, w, C) of each level."""
    cells = [h * w for h, w in memory.shapes]
    return [x.unflatten(1, shape) for x, shape in zip(memory.content.split(cells, 1), memory.shapes, strict=True)]


@pytest.mark.parametrize("num_levels", [2, 3, 4])
def test_levels_are_projected_maps_and_strided_convolutions_below_them(num_levels):
    neck, maps = multi_scale(num_levels), features()
    assert (neck.in_channels, neck.num_levels) == (CHANNELS, num_levels)
    memory = neck(maps, padding_of(IMAGES, 96, 128))
    assert memory.shapes == ((12, 16), (6, 8), (3, 4), (2, 2))[:num_levels]
    expected = [maps["res3"], maps["res4"]]
    for i, (convolution, norm) in enumerate(neck.projections):
        if i < 2:
            below = F.conv2d(expected[i], convolution.weight, convolution.bias)
        else:  # the first from the backbone's last map as it is, the next from the level above
            above = maps["res4"] if i == 2 else below
            below = F.conv2d(above, convolution.weight, convolution.bias, stride=2, padding=1)
        grouped = below.unflatten(1, (2, 4))
        variance, mean = torch.var_mean(grouped, (2, 3, 4), keepdim=True, correction=0)
        below = ((grouped - mean) / (variance + 1e-5).sqrt()).flatten(1, 2)
        below = below * norm.weight[:, None, None] + norm.bias[:, None, None]
        assert worst(levels_of(memory)[i], below.permute(0, 2, 3, 1)) < 1e-4
    assert len(neck.projections) == num_levels


@pytest.mark.parametrize("level_embed", [True, False])
def test_every_level_adds_its_own_vector_to_the_position(level_embed):
    neck = multi_scale(level_embed=level_embed)
    memory = neck(features(), padding_of(IMAGES, 96, 128))
    start = 0
    for level, (h, w) in enumerate(memory.shapes):
        padding = memory.padding[:, start : start + h * w].unflatten(1, (h, w))
        expected = neck.position(padding).flatten(1, 2)
        expected = expected + neck.level_embed[level] if level_embed else expected
        assert worst(memory.position[:, start : start + h * w], expected) < 1e-6
        start += h * w
    assert ("level_embed" in dict(neck.named_parameters())) == level_embed


def test_masks_of_all_levels_come_from_the_images():
    """Of the further levels too, at the nearest pixel."""
    padding = padding_of(IMAGES, 96, 128)
    memory = multi_scale()(features(), padding)
    expected = []
    for h, w in memory.shapes:
        rows = torch.tensor([i * 96 // h for i in range(h)])
        columns = torch.tensor([j * 128 // w for j in range(w)])
        expected.append(padding[:, rows][:, :, columns].flatten(1))
    assert torch.equal(memory.padding, torch.cat(expected, 1))
    assert not memory.padding[0].any() and memory.padding[1].any()


def test_valid_ratios_are_the_part_of_each_map_that_is_image():
    memory = multi_scale()(features(), padding_of(IMAGES, 96, 128))
    assert (memory.valid_ratios[0] == 1).all()
    # 50 of 96 rows and 72 of 128 columns are 7 of 12 and 9 of 16 cells, 4 of 6 and 5 of 8, 2 of 3 and 3 of 4, 2 and 2
    expected = torch.tensor([[9 / 16, 7 / 12], [5 / 8, 4 / 6], [3 / 4, 2 / 3], [1.0, 1.0]])
    torch.testing.assert_close(memory.valid_ratios[1], expected[: len(memory.shapes)])


def test_centers_are_in_the_middle_of_cells_and_relative_to_the_image():
    sizes = [[(4, 6), (3, 2)], [(2, 3), (1, 1)]]
    centers = random_memory(*sizes).centers()
    for b in range(2):
        expected = [
            ((x + 0.5) / valid[b][1], (y + 0.5) / valid[b][0])
            for valid in sizes
            for y in range(valid[0][0])
            for x in range(valid[0][1])
        ]
        torch.testing.assert_close(centers[b], torch.tensor(expected))


@pytest.mark.parametrize("neck", [small_neck, multi_scale])
def test_points_are_encoded_as_cells_are(neck):
    neck = neck()
    memory = neck(features() | {"res5": torch.randn(2, 6, 3, 4)}, padding_of(IMAGES, 96, 128))
    points = torch.rand(2, 5, 2)
    assert torch.equal(memory.encode(points), neck.position.encode(points))


def test_projections_start_from_xavier():
    neck = MultiScaleNeck(in_channels={"res5": 200}, num_levels=3, dim=64, position=PositionMap(dim=64))
    for convolution, size in zip([x[0] for x in neck.projections], (200, 9 * 200, 9 * 64), strict=True):
        fan_out = 64 * (1 if size == 200 else 9)
        assert convolution.weight.abs().max().item() == pytest.approx((6 / (size + fan_out)) ** 0.5, rel=0.01)
        assert (convolution.bias == 0).all()
    assert {norm.num_groups for _, norm in neck.projections} == {32}
    assert neck.level_embed.shape == (3, 64) and neck.level_embed.std() > 0.5


def test_fewer_levels_than_maps_are_refused():
    with pytest.raises(
        ValueError, match=r"model\.neck\.num_levels=1 is less than the 2 maps of model\.neck\.in_channels"
    ):
        multi_scale(num_levels=1)


def test_precision_of_the_ratios_under_autocast_and_in_float64():
    padding = padding_of(IMAGES, 96, 128)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        memory = multi_scale()(features(), padding)
    assert memory.position.dtype == memory.content.dtype and memory.valid_ratios.dtype == torch.float32
    double = multi_scale().double()({name: x.double() for name, x in features().items()}, padding)
    assert double.valid_ratios.dtype == double.centers().dtype == torch.float64
