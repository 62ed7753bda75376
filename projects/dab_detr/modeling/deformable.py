"""Deformable attention: each query looks at a few sampled points of every level."""

import math
from collections.abc import Callable
from functools import cache
from importlib.util import find_spec

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .bag_sampling import sample_from_bags
from .boxes import full_precision
from .part import ANCHORS, Part
from .structures import Look, Memory, Position

BAG_FROM = 2**9
"""The number of queries from which bags take less CPU time than `grid_sample`, see docs/benchmarks.md."""
INT32_MAX = torch.iinfo(torch.int32).max


def deformable_sample(value: Tensor, shapes: tuple[tuple[int, int], ...], points: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of the values at sampled points, interpolated bilinearly. Values outside the map are zero.

    value: (B, S, heads, c), the cells of one level after the other. shapes: (height, width) of each level.
    points: (B, Q, heads, levels, P, 2) as (x, y), normalized by the whole map. weights: (B, Q, heads, levels, P).
    Returns (B, Q, heads * c). A kernel can replace this one function.
    """
    return form_for(value, shapes, points)(value, shapes, points, weights)


def form_for(value: Tensor, shapes: tuple[tuple[int, int], ...], points: Tensor) -> Callable[..., Tensor]:
    """The fastest form of `deformable_sample` for these arguments. Compilers and exporters need the grid."""
    if torch.compiler.is_compiling() or torch.jit.is_tracing():
        return sample_from_grids
    if value.device.type == "cuda" and has_triton():
        from .triton_sampling import sample_by_kernel  # slow to import, and needed only here

        return sample_by_kernel
    return sample_from_bags if bag_is_faster(value, shapes, points) else sample_from_grids


@cache
def has_triton() -> bool:
    """Whether Triton is installed: it comes with torch on Linux."""
    return find_spec("triton") is not None


def bag_is_faster(value: Tensor, shapes: tuple[tuple[int, int], ...], points: Tensor) -> bool:
    """Whether `sample_from_bags` is faster for values (B, S, heads, c): on CPU, for many queries."""
    if value.device.type != "cpu" or points.shape[1] < BAG_FROM:
        return False
    rows = len(value) * value.shape[2] * sum((height + 2) * (width + 2) for height, width in shapes)
    return max(rows, 4 * points.shape[:5].numel()) < INT32_MAX  # rows and the cells of all bags are counted in int32


def sample_from_grids(value: Tensor, shapes: tuple[tuple[int, int], ...], points: Tensor, weights: Tensor) -> Tensor:
    """`deformable_sample` by torch's `grid_sample`, level by level."""
    value = full_precision(value)  # 16 bits would shift points by fractions of a cell
    batch, queries, heads = points.shape[:3]
    grid = (2 * points.to(value.dtype) - 1).permute(3, 0, 2, 1, 4, 5).flatten(1, 2)  # (levels, B * heads, Q, P, 2)
    levels = value.split([height * width for height, width in shapes], 1)
    sampled = [
        F.grid_sample(level.permute(0, 2, 3, 1).flatten(0, 1).unflatten(-1, shape), where, align_corners=False)
        for level, shape, where in zip(levels, shapes, grid, strict=True)
    ]  # each (B * heads, c, Q, P)
    weights = weights.permute(0, 2, 1, 3, 4).flatten(0, 1).flatten(-2)[:, None]
    out = (torch.cat(sampled, -1) * weights).sum(-1)
    return out.view(batch, heads * value.shape[-1], queries).transpose(1, 2)


def sample_by_gathering(value: Tensor, shapes: tuple[tuple[int, int], ...], points: Tensor, weights: Tensor) -> Tensor:
    """`deformable_sample` by four gathers for each level, for runtimes whose `grid_sample` is missing or wrong."""
    value = full_precision(value)
    batch, queries, heads = points.shape[:3]
    levels = value.transpose(1, 2).flatten(0, 1).split([height * width for height, width in shapes], 1)
    grids = points.to(value.dtype).permute(3, 0, 2, 1, 4, 5).flatten(1, 2)  # (levels, B * heads, Q, P, 2)
    shares = weights.permute(3, 0, 2, 1, 4).flatten(1, 2)  # (levels, B * heads, Q, P)
    out = value.new_zeros(batch * heads, queries, value.shape[-1])
    for level, (height, width), where, share in zip(levels, shapes, grids, shares, strict=True):
        x, y = where[..., 0] * width - 0.5, where[..., 1] * height - 0.5
        for column, across in ((x.floor(), 1 - (x - x.floor())), (x.floor() + 1, x - x.floor())):
            for row, down in ((y.floor(), 1 - (y - y.floor())), (y.floor() + 1, y - y.floor())):
                inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
                cell = torch.where(inside, row * width + column, 0.0).long().flatten(1)[..., None]
                corner = level.gather(1, cell.expand(-1, -1, level.shape[-1])).unflatten(1, where.shape[1:3])
                out = out + (corner * (across * down * share * inside)[..., None]).sum(2)
    return out.unflatten(0, (batch, heads)).transpose(1, 2).flatten(2)


class DeformableAttention(Part, nn.Module):
    """Attention over `points` sampled points in each of `levels` maps, around the query's anchor.

    Offsets are in cells around 2-D anchors, and in halves of the box's size around 4-D anchors, so that a box looks at
    itself. At the start each head looks in its own direction, and each of its points is further out than the last.
    """

    splits_axes, needs = False, (ANCHORS,)
    sample = staticmethod(deformable_sample)

    def __init__(self, *, dim: int, heads: int, levels: int, points: int):
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim={dim} must be a multiple of heads={heads}")
        self.heads, self.levels, self.points = heads, levels, points
        self.offsets = nn.Linear(dim, heads * levels * points * 2)
        self.weights = nn.Linear(dim, heads * levels * points)
        self.value, self.out = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def reset_special_weights(self) -> None:
        """At the start offsets and weights do not depend on the content: each head samples in its own direction."""
        for module in (self.offsets, self.weights):
            nn.init.zeros_(module.weight)
        for module in (self.weights, self.value, self.out):
            nn.init.zeros_(module.bias)
        angle = torch.arange(self.heads) * (2 * math.pi / self.heads)
        direction = torch.stack([angle.cos(), angle.sin()], -1)
        direction = direction / direction.abs().amax(-1, keepdim=True)
        reach = torch.arange(1, self.points + 1)
        bias = direction[:, None, None] * reach[:, None]
        self.offsets.bias.data.copy_(bias.expand(-1, self.levels, -1, -1).flatten())

    def forward(self, content: Tensor, position: Position, memory: Memory) -> Tensor:
        """(B, Q, C) content, its position and anchors, over the memory, to (B, Q, C)."""
        value, points, weights = self.project(content, position, memory)
        return self.out(self.sample(value, memory.shapes, points, weights))

    def project(self, content: Tensor, position: Position, memory: Memory) -> tuple[Tensor, Tensor, Tensor]:
        """Values (B, S, heads, c), points (B, Q, heads, levels, P, 2) and weights (B, Q, heads, levels, P)."""
        query = content + position.embed
        each = (self.heads, self.levels, self.points)
        offsets = self.offsets(query).unflatten(-1, (*each, 2))
        weights = self.weights(query).unflatten(-1, (self.heads, -1)).softmax(-1).unflatten(-1, each[1:])
        value = self.value(memory.content).masked_fill(memory.padding[..., None], 0.0)
        points = self.sampling_points(position.anchors, offsets, memory)
        return value.unflatten(-1, (self.heads, -1)), points, weights

    def look(self, content: Tensor, position: Position, memory: Memory, rows: Tensor) -> Look:
        """The view of the queries `rows` (n,) of the first image, with the arguments of `forward`."""
        value, points, weights = self.project(content, position, memory)
        points = points[0, rows] / memory.valid_ratios[0][:, None]
        return Look(
            weights=weights[0, rows].flatten(-2).transpose(0, 1),
            values=value[0].transpose(0, 1),
            points=points.flatten(-3, -2).transpose(0, 1),
        )

    def sampling_points(self, anchors: Tensor, offsets: Tensor, memory: Memory) -> Tensor:
        """Anchors (B, Q, D) and offsets (B, Q, heads, levels, points, 2) to points normalized by the whole map."""
        ratios = memory.valid_ratios[:, None, None, :, None]
        anchors = anchors[:, :, None, None, None]
        if anchors.shape[-1] == 4:
            return (anchors[..., :2] + offsets / self.points * anchors[..., 2:] * 0.5) * ratios
        # filled on the device, because the copy of a list would make it wait
        size = torch.stack([offsets.new_full((), side) for height, width in memory.shapes for side in (width, height)])
        return anchors * ratios + offsets / size.view(-1, 1, 2)
