"""Deformable sampling on a CPU as one `embedding_bag`: each query and head sums the four cells around its points.

Maps get a border of zeros. Points outside move onto it, so that no corner needs a check. Cells are counted in integers,
because fp32 cannot tell the cells of large maps apart.

There are N bags, one for each head of each query, and each has T points, over all levels. A bag lists the upper left
cells of its T points, then the upper right, lower left and lower right ones, so that all arithmetic runs over
contiguous numbers.
"""

import warnings
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .boxes import full_precision

Shapes = Sequence[tuple[int, int]]


def sample_from_bags(value: Tensor, shapes: Shapes, points: Tensor, weights: Tensor) -> Tensor:
    """Compute `deformable.deformable_sample` by bags. Without a gradient, values of 16 bits stay in 16 bits."""
    if torch.is_grad_enabled() and any(x.requires_grad for x in (value, points, weights)):
        value = full_precision(value)
    return Bags.apply(value, points, weights, shapes)


class Bags(torch.autograd.Function):
    """Bags as one differentiable function of values, points and weights. It stores only these for the gradient."""

    @staticmethod
    def forward(ctx, value: Tensor, points: Tensor, weights: Tensor, shapes: Shapes) -> Tensor:
        ctx.save_for_backward(value, points, weights)
        ctx.shapes = shapes
        (left, x), (top, y) = places(points, shapes)
        index = cells(value, shapes, left, top)
        share = shares(weights.to(value.dtype), x.to(value.dtype), y.to(value.dtype))
        return bags(with_borders(value, shapes), index, share).view(*points.shape[:2], value.shape[2:].numel())

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        """Return the gradients of value, points and weights.

        Cells and shares are computed again, because that is cheaper than keeping them.
        """
        (value, points, weights), shapes = ctx.saved_tensors, ctx.shapes
        (left, x), (top, y) = places(points, shapes)
        index, table = cells(value, shapes, left, top), with_borders(value, shapes)
        grad = grad.reshape(-1, value.shape[-1])
        a, b, c, d = products(table, index, grad).view(*x.shape[:3], 4, x.shape[3]).unbind(3)  # ordered as in `shares`
        weight, upper, lower = weights.flatten(3), a + (b - a) * x, c + (d - c) * x
        along_x = (b - a + (d - c - b + a) * y) * weight
        along_y = (lower - upper) * weight
        of_points = torch.stack([inside(along_x, points, shapes, 0), inside(along_y, points, shapes, 1)], -1)
        of_weights = upper + (lower - upper) * y
        of_table = transposed(table, index, shares(weights.to(value.dtype), x, y), grad)
        return (
            without_borders(of_table, shapes),
            of_points.view_as(points).to(points.dtype),
            of_weights.view_as(weights).to(weights.dtype),
            None,
        )


def sides(points: Tensor, shapes: Shapes, axis: int) -> Tensor:
    """(T,) the width (axis 0) or height of the map of each point, for points (B, Q, heads, levels, P, 2)."""
    return points.new_tensor([shape[1 - axis] for shape in shapes]).repeat_interleave(points.shape[4])


def inside(along: Tensor, points: Tensor, shapes: Shapes, axis: int) -> Tensor:
    """The gradient of the points on one axis from the gradient in cells, (B, Q, heads, T): zero for points outside."""
    side = sides(points, shapes, axis)
    place = points[..., axis].flatten(3) * side + 0.5
    return torch.where((place >= 0) & (place < side + 1), along * side, 0.0)


def places(points: Tensor, shapes: Shapes) -> list[tuple[Tensor, Tensor]]:
    """For x and for y, the cell before each point and the share of the next cell, each (B, Q, heads, T).

    Cells are counted in the maps with borders.
    """
    found = []
    for axis in range(2):
        side = sides(points, shapes, axis)
        place = (points[..., axis].flatten(3) * side).add_(0.5).clamp_(min=0)
        place = torch.minimum(place, side + 1)
        low = torch.minimum(place.floor(), side).nan_to_num_(nan=0.0)  # the shares keep NaN visible
        found.append((low, place.sub_(low)))
    return found


def cells(value: Tensor, shapes: Shapes, left: Tensor, top: Tensor) -> Tensor:
    """(N, 4 * T) the rows of the table of values that a bag sums, int32. left, top: (B, Q, heads, T)."""
    batch, heads, count = value.shape[0], value.shape[2], left.shape[-1] // len(shapes)
    starts = np.cumsum([0, *((height + 2) * (width + 2) for height, width in shapes)])
    row, first = (
        torch.tensor(x, dtype=torch.int32).repeat_interleave(count) for x in ([w + 2 for _, w in shapes], starts[:-1])
    )
    image = torch.arange(batch, dtype=torch.int32) * int(starts[-1])
    cell = (top.to(torch.int32) * row).add_(left.to(torch.int32)).add_(image[:, None, None, None] + first)
    cell = cell.mul_(heads).add_(torch.arange(heads, dtype=torch.int32)[:, None])
    corners = torch.stack([torch.zeros_like(row), torch.ones_like(row), row, row + 1]) * heads
    return (cell[:, :, :, None] + corners).view(-1, 4 * left.shape[-1])


def shares(weights: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """(B, Q, heads, 4, T) the factor of each cell of a bag.

    weights: (B, Q, heads, levels, P). x, y: the shares of the next cells, (B, Q, heads, T).
    """
    weights = weights.flatten(3)
    lower = weights * y
    upper = weights - lower
    right, lower_right = upper * x, lower * x
    return torch.stack([upper - right, right, lower - lower_right, lower_right], 3)


def bags(table: Tensor, index: Tensor, share: Tensor) -> Tensor:
    """(N, c) the weighted sum of each bag. table: (B, S', heads, c)."""
    return F.embedding_bag(index, table.flatten(0, 2), mode="sum", per_sample_weights=share.view(index.shape))


def products(table: Tensor, index: Tensor, grad: Tensor) -> Tensor:
    """(N, 4 * T) the products of each cell with the gradient (N, c) of its bag."""
    rows, ones = table.shape[:3].numel(), torch.ones(index.shape, dtype=grad.dtype)
    if not torch.backends.mkl.is_available():
        with torch.enable_grad():
            return torch.autograd.grad(bags(table, index, ones.requires_grad_()), ones, grad)[0]
    starts = torch.arange(0, index.numel() + 1, index.shape[1], dtype=torch.int32)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse CSR")  # torch warns of its beta state
        places = torch.sparse_csr_tensor(
            starts, index.view(-1), ones.view(-1), (len(index), rows), check_invariants=False
        )
        return torch.sparse.sampled_addmm(places, grad, table.flatten(0, 2).t(), beta=0.0).values()


def transposed(table: Tensor, index: Tensor, share: Tensor, grad: Tensor) -> Tensor:
    """The gradient of the table from the gradient (N, c) of the bags: the bags as a sparse matrix, transposed."""
    from scipy.sparse import csr_array  # slow to import, and inference does not need it

    starts = np.arange(0, index.numel() + 1, index.shape[1], dtype=np.int32)
    rows = table.shape[:3].numel()
    matrix = csr_array((share.numpy().ravel(), index.numpy().ravel(), starts), shape=(len(index), rows))
    return torch.from_numpy(matrix.T @ grad.contiguous().numpy()).view_as(table)


def with_borders(value: Tensor, shapes: Shapes) -> Tensor:
    """Maps (B, S, heads, c) with a border of one zero cell each, (B, S', heads, c)."""
    bordered = [(height + 2) * (width + 2) for height, width in shapes]
    table = value.new_zeros(value.shape[0], sum(bordered), *value.shape[2:])
    levels = value.split([height * width for height, width in shapes], 1)
    for level, target, (height, width) in zip(levels, table.split(bordered, 1), shapes, strict=True):
        target.unflatten(1, (height + 2, width + 2))[:, 1:-1, 1:-1] = level.unflatten(1, (height, width))
    return table


def without_borders(table: Tensor, shapes: Shapes) -> Tensor:
    """Maps (B, S', heads, c) without their borders, (B, S, heads, c)."""
    levels = table.split([(height + 2) * (width + 2) for height, width in shapes], 1)
    inner = [
        x.unflatten(1, (h + 2, w + 2))[:, 1:-1, 1:-1].flatten(1, 2) for x, (h, w) in zip(levels, shapes, strict=True)
    ]
    return torch.cat(inner, 1)
