"""Sine encodings: of coordinates, and of every cell of a feature map."""

import math

import torch
from torch import Tensor, nn

from .boxes import full_precision
from .layers import MLP
from .part import Part

EPS = 1e-6  # keeps columns of padding alone finite


def sine_embedding(coordinates: Tensor, dim: int, temperature: float | Tensor = 10000.0) -> Tensor:
    """Sine encoding PE of coordinates (..., D) in [0, 1] to (..., D * dim), Eq. 2 and 5 of the paper.

    Columns come in as x, y[, w, h] and go out in the order y, x[, w, h], each as `dim` interleaved sines and
    cosines. `temperature` is one number, or one for each column of the input, (D,).
    """
    coordinates = full_precision(coordinates)
    exponent = torch.arange(dim, dtype=coordinates.dtype, device=coordinates.device)
    exponent = exponent.div(2, rounding_mode="floor") * (2 / dim)
    if isinstance(temperature, Tensor):
        temperature = temperature.to(coordinates.dtype)[..., None]
    phase = coordinates[..., None] * (2 * math.pi) / temperature**exponent
    waves = torch.stack([phase[..., 0::2].sin(), phase[..., 1::2].cos()], -1).flatten(-2)
    x, y, *sizes = waves.unbind(-2)  # an index would have to be copied to the device, which would wait for it
    return torch.cat([y, x, *sizes], -1)


class PositionMap(Part, nn.Module):
    """Sine encoding of the cells of a feature map, relative to the part of the map that is image.

    A cell's coordinate is its rank among the unpadded cells of its column (or row), divided by their number, so padding
    changes nothing. `temperature_x` and `temperature_y` sharpen each axis (Sec. 4.4 of the paper; 20 in DAB-DETR,
    10000 in its relatives); `offset` is -0.5 in members that measure at the centers of cells.
    """

    def __init__(self, *, dim: int, temperature_x: float = 20.0, temperature_y: float = 20.0, offset: float = 0.0):
        super().__init__()
        self.dim, self.offset = dim, offset
        temperature = torch.tensor([temperature_x, temperature_y], dtype=torch.float)
        self.register_buffer("temperature", temperature, persistent=False)

    def forward(self, padding: Tensor) -> Tensor:
        """(B, H, W) bool, True where padded, to (B, H, W, dim)."""
        valid = (~padding).to(self.temperature.dtype)
        y, x = valid.cumsum(1), valid.cumsum(2)
        y = (y + self.offset) / (y[:, -1:, :] + EPS)
        x = (x + self.offset) / (x[:, :, -1:] + EPS)
        return self.encode(torch.stack([x, y], -1))

    def encode(self, points: Tensor) -> Tensor:
        """Points (..., 2) to (..., dim)."""
        return sine_embedding(points, self.dim // 2, self.temperature)


class RowColumnMap(Part, nn.Module):
    """Encodings of a cell's y and x, each with `dim` channels, through one MLP that anchor points share.

    Coordinates are centers of cells over the extent of the image in the map's first row and column.
    """

    splits_axes = True

    def __init__(self, *, dim: int, temperature: float = 10000.0):
        super().__init__()
        self.dim, self.temperature = dim, temperature
        self.mlp = MLP(dim, dim, dim)

    def forward(self, padding: Tensor) -> Tensor:
        """(B, H, W) bool, True where padded, to (B, H, W, 2 * dim): y, then x."""
        dtype = full_precision(self.mlp[0].weight).dtype
        y, x = ((~line).cumsum(1, dtype=dtype) for line in (padding[:, :, 0], padding[:, 0]))
        y, x = ((line - 0.5) / line[:, -1:] for line in (y, x))
        x, y = torch.broadcast_tensors(x[:, None], y[:, :, None])
        return self.encode(torch.stack([x, y], -1))

    def encode(self, points: Tensor) -> Tensor:
        """Points (..., 2) to (..., 2 * dim)."""
        sine = sine_embedding(points, self.dim, self.temperature).unflatten(-1, (2, self.dim))
        return self.mlp(sine.to(self.mlp[0].weight.dtype)).flatten(-2)
