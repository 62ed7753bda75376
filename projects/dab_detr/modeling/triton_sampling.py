"""Deformable sampling on a GPU: one Triton kernel for the values, and one for the gradient.

Triton compiles the kernels on their first call. Import this module only where they can run. If TRITON_INTERPRET=1 is in
the environment before the import, Triton's interpreter runs them on the CPU. The tests check them in this way.

A row is one head of one query of one image. A program works on ROWS rows and adds up the points of all levels in
registers, so that no sampled value is stored. It computes in fp64 for values in fp64, otherwise in fp32.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

UNSPECIALIZED = ("sides", "rows", "rows_per_image", "cells")  # change with the image, need no new kernel


@triton.jit
def cell_before(place, side):
    """The last cell whose center is at or before `place`, on an axis of a map with `side` cells.

    Places outside the map, infinite ones and NaN move to cells that do not exist.
    """
    near = tl.minimum(tl.maximum(place, -2.0), side + 1.0)
    return tl.where(place == place, tl.floor(near), -2.0)


@triton.jit
def share_of_next(place, side, cell):
    """The share of the cell after `cell` at `place`, 0 to 1; NaN where the place is."""
    near = tl.minimum(tl.maximum(place, -2.0), side + 1.0)
    return tl.where(place == place, near - cell, place)


@triton.jit
def is_in_map(line, column, height, width):
    """Whether a cell exists."""
    return (line >= 0) & (line < height) & (column >= 0) & (column < width)


@triton.jit
def read_cells(level, line, column, height, width, channel, wanted, STEP: tl.constexpr, TYPE: tl.constexpr):
    """Read the values (ROWS, WIDTH) of one cell for each row, zero outside the map."""
    where = level + (line * width + column) * STEP
    mask = wanted & is_in_map(line, column, height, width)[:, None]
    return tl.load(where[:, None] + channel[None, :], mask=mask, other=0.0).to(TYPE)


@triton.jit
def add_to_cells(level, line, column, height, width, channel, wanted, values, STEP: tl.constexpr):
    """Add values (ROWS, WIDTH) to one cell for each row, where it is in the map."""
    where = level + (line * width + column) * STEP
    mask = wanted & is_in_map(line, column, height, width)[:, None]
    tl.atomic_add(where[:, None] + channel[None, :], values, mask=mask, sem="relaxed")


@triton.jit
def add(a, b):
    return a + b


@triton.jit(do_not_specialize=UNSPECIALIZED)
def forward_kernel(
    value,
    points,
    weights,
    out,
    sides,
    rows,
    rows_per_image,
    cells,
    HEADS: tl.constexpr,
    CHANNELS: tl.constexpr,
    LEVELS: tl.constexpr,
    POINTS: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    TYPE: tl.constexpr,
):
    """Write the weighted sum of each row, (rows, CHANNELS)."""
    STEP: tl.constexpr = HEADS * CHANNELS
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, WIDTH)
    exists = row < rows
    wanted = exists[:, None] & (channel < CHANNELS)[None, :]
    level = value + (row // rows_per_image * cells * HEADS + row % HEADS) * CHANNELS
    total = tl.full((ROWS, WIDTH), 0.0, TYPE)
    for i in tl.static_range(LEVELS):
        height = sides[2 * i]
        width = sides[2 * i + 1]
        for p in range(POINTS):
            point = (row * LEVELS + i) * POINTS + p
            weight = tl.load(weights + point, mask=exists, other=0.0).to(TYPE)
            x = tl.load(points + 2 * point, mask=exists, other=0.0).to(TYPE) * width - 0.5
            y = tl.load(points + 2 * point + 1, mask=exists, other=0.0).to(TYPE) * height - 0.5
            left = cell_before(x, width)
            top = cell_before(y, height)
            x = share_of_next(x, width, left)
            y = share_of_next(y, height, top)
            left = left.to(tl.int64)
            top = top.to(tl.int64)
            a = read_cells(level, top, left, height, width, channel, wanted, STEP, TYPE)
            b = read_cells(level, top, left + 1, height, width, channel, wanted, STEP, TYPE)
            c = read_cells(level, top + 1, left, height, width, channel, wanted, STEP, TYPE)
            d = read_cells(level, top + 1, left + 1, height, width, channel, wanted, STEP, TYPE)
            upper = a * (weight * (1 - y) * (1 - x))[:, None] + b * (weight * (1 - y) * x)[:, None]
            lower = c * (weight * y * (1 - x))[:, None] + d * (weight * y * x)[:, None]
            total += upper + lower
        level += height * width * STEP
    tl.store(out + row[:, None] * CHANNELS + channel[None, :], total, mask=wanted)


@triton.jit(do_not_specialize=UNSPECIALIZED)
def backward_kernel(
    value,
    points,
    weights,
    grad_out,
    grad_value,
    grad_points,
    grad_weights,
    sides,
    rows,
    rows_per_image,
    cells,
    HEADS: tl.constexpr,
    CHANNELS: tl.constexpr,
    LEVELS: tl.constexpr,
    POINTS: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
    TYPE: tl.constexpr,
):
    """Add to the gradient of the values, which starts at zero, and write the gradients of points and weights."""
    STEP: tl.constexpr = HEADS * CHANNELS
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = tl.arange(0, WIDTH)
    exists = row < rows
    wanted = exists[:, None] & (channel < CHANNELS)[None, :]
    first = (row // rows_per_image * cells * HEADS + row % HEADS) * CHANNELS
    level = value + first
    grad_level = grad_value + first
    grad = tl.load(grad_out + row[:, None] * CHANNELS + channel[None, :], mask=wanted, other=0.0).to(TYPE)
    for i in tl.static_range(LEVELS):
        height = sides[2 * i]
        width = sides[2 * i + 1]
        for p in range(POINTS):
            point = (row * LEVELS + i) * POINTS + p
            weight = tl.load(weights + point, mask=exists, other=0.0).to(TYPE)
            x = tl.load(points + 2 * point, mask=exists, other=0.0).to(TYPE) * width - 0.5
            y = tl.load(points + 2 * point + 1, mask=exists, other=0.0).to(TYPE) * height - 0.5
            left = cell_before(x, width)
            top = cell_before(y, height)
            x = share_of_next(x, width, left)[:, None]
            y = share_of_next(y, height, top)[:, None]
            left = left.to(tl.int64)
            top = top.to(tl.int64)
            a = read_cells(level, top, left, height, width, channel, wanted, STEP, TYPE)
            b = read_cells(level, top, left + 1, height, width, channel, wanted, STEP, TYPE)
            c = read_cells(level, top + 1, left, height, width, channel, wanted, STEP, TYPE)
            d = read_cells(level, top + 1, left + 1, height, width, channel, wanted, STEP, TYPE)
            upper = a + (b - a) * x
            lower = c + (d - c) * x
            along_x = tl.reduce(grad * ((b - a) * (1 - y) + (d - c) * y), 1, add)
            along_y = tl.reduce(grad * (lower - upper), 1, add)
            tl.store(grad_weights + point, tl.reduce(grad * (upper + (lower - upper) * y), 1, add), mask=exists)
            tl.store(grad_points + 2 * point, weight * along_x * width, mask=exists)
            tl.store(grad_points + 2 * point + 1, weight * along_y * height, mask=exists)
            up = grad * weight[:, None] * (1 - y)
            down = grad * weight[:, None] * y
            add_to_cells(grad_level, top, left, height, width, channel, wanted, up * (1 - x), STEP)
            add_to_cells(grad_level, top, left + 1, height, width, channel, wanted, up * x, STEP)
            add_to_cells(grad_level, top + 1, left, height, width, channel, wanted, down * (1 - x), STEP)
            add_to_cells(grad_level, top + 1, left + 1, height, width, channel, wanted, down * x, STEP)
        level += height * width * STEP
        grad_level += height * width * STEP


class Sampling(torch.autograd.Function):
    """The kernels as one differentiable function of values, points and weights, all contiguous."""

    @staticmethod
    def forward(ctx, value: Tensor, points: Tensor, weights: Tensor, shapes: tuple[tuple[int, int], ...]) -> Tensor:
        ctx.save_for_backward(value, points, weights)
        ctx.shapes = shapes
        batch, queries, heads = points.shape[:3]
        out = value.new_empty(batch, queries, heads * value.shape[-1])
        launch(forward_kernel, value, shapes, points, weights, out, elements=1024)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_out: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        value, points, weights = ctx.saved_tensors
        grad_value = torch.zeros_like(value, dtype=counting_type(value))  # many small terms: 16 bits would lose them
        grads = grad_value, torch.empty_like(points), torch.empty_like(weights)
        launch(backward_kernel, value, ctx.shapes, points, weights, grad_out.contiguous(), *grads, elements=512)
        return grads[0].to(value.dtype), *grads[1:], None


def counting_type(value: Tensor) -> torch.dtype:
    """The type in which the kernels compute."""
    return torch.promote_types(value.dtype, torch.float)


def launch(kernel, value: Tensor, shapes: tuple[tuple[int, int], ...], points: Tensor, *tensors: Tensor, elements: int):
    """Run a kernel over all rows. Each program sums about `elements` numbers at a time."""
    batch, queries, heads, levels, count = points.shape[:5]
    rows, width = batch * queries * heads, triton.next_power_of_2(value.shape[-1])
    block = max(1, elements // width)
    if not rows:
        return
    with torch.cuda.device_of(value):  # Triton launches on the current device
        kernel[(triton.cdiv(rows, block),)](
            value,
            points,
            *tensors,
            tuple(side for shape in shapes for side in shape),
            rows,
            queries * heads,
            value.shape[1],
            HEADS=heads,
            CHANNELS=value.shape[-1],
            LEVELS=levels,
            POINTS=count,
            ROWS=block,
            WIDTH=width,
            TYPE=tl.float64 if counting_type(value) == torch.float64 else tl.float32,
        )


def sample_by_kernel(value: Tensor, shapes: tuple[tuple[int, int], ...], points: Tensor, weights: Tensor) -> Tensor:
    """Compute `deformable.deformable_sample` by the kernels, in the type of the values.

    The order in which the gradient of the values is added up is not fixed, so two runs differ in their last bits.
    """
    return Sampling.apply(value.contiguous(), points.contiguous(), weights.contiguous(), shapes)
