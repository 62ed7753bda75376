"""Anchor DETR's row-column decoupled attention."""

from functools import partial

import torch
from torch import Tensor, nn

from .part import ENCODED, Part
from .structures import Look, Memory, Position


class RowColumnAttention(Part, nn.Module):
    """Attention over a map as attention over its rows times attention over its columns.

    The key of a column is the mean over its cells, and likewise for rows. As in the original, the mean includes padded
    cells, unless the memory is exact. Positions are encoded as (y, x), (..., 2C), see `positional.RowColumnMap`.
    """

    levels, splits_axes, needs = 1, True, (ENCODED,)

    def __init__(self, *, dim: int, heads: int):
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim={dim} must be a multiple of heads={heads}")
        self.heads = heads
        self.query_row, self.query_column, self.key_row, self.key_column = (nn.Linear(dim, dim) for _ in range(4))
        self.value, self.out = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def reset_special_weights(self) -> None:
        """The original applies Xavier to the five projections as one (5 * dim, dim) matrix; biases are 0."""
        for module in (self.query_row, self.query_column, self.key_row, self.key_column, self.value):
            nn.init.xavier_uniform_(module.weight, gain=(1 / 3) ** 0.5)
            nn.init.zeros_(module.bias)
        nn.init.zeros_(self.out.bias)

    def forward(self, content: Tensor, position: Position, memory: Memory) -> Tensor:
        """(B, Q, C) content and its spatial position (B, Q, 2C), over the memory's one level, to (B, Q, C)."""
        row, column, value = self.project(content, position, memory)
        out = torch.einsum("bnqw,bhwnc->bnqhc", row, value)
        return self.out(torch.einsum("bnqh,bnqhc->bqnc", column, out).flatten(-2))

    def project(self, content: Tensor, position: Position, memory: Memory) -> tuple[Tensor, Tensor, Tensor]:
        """Weights along rows (B, heads, Q, W) and columns (B, heads, Q, H), and values (B, H, W, heads, c)."""
        cells = memory.content.unflatten(1, memory.shapes[0])
        along_y, along_x = memory.position.unflatten(1, memory.shapes[0]).chunk(2, -1)
        padding = memory.padding.unflatten(1, memory.shapes[0])
        mean = partial(masked_mean, padding=padding) if memory.exact else torch.mean
        query_y, query_x = (content + half for half in position.spatial.chunk(2, -1))
        row = self.weigh(self.query_row(query_x), self.key_row(mean(cells + along_x, 1)), padding[:, 0])
        column = self.weigh(self.query_column(query_y), self.key_column(mean(cells + along_y, 2)), padding[:, :, 0])
        return row, column, self.value(cells).unflatten(-1, (self.heads, -1))

    def look(self, content: Tensor, position: Position, memory: Memory, rows: Tensor) -> Look:
        """The view of the queries `rows` (n,) of the first image, with the arguments of `forward`."""
        row, column, value = self.project(content, position, memory)
        weights = column[0, :, rows, :, None] * row[0, :, rows, None]
        return Look(weights=weights.flatten(2), values=value[0].flatten(0, 1).transpose(0, 1))

    def weigh(self, query: Tensor, key: Tensor, padding: Tensor) -> Tensor:
        """Attention weights (B, heads, Q, N) of queries (B, Q, C) over keys (B, N, C) without the padding (B, N)."""
        query, key = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in (query, key))
        scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
        return scores.masked_fill(padding[:, None, None], float("-inf")).softmax(-1)


def masked_mean(cells: Tensor, dim: int, padding: Tensor) -> Tensor:
    """Mean of the cells (B, h, w, C) outside the padding (B, h, w), along `dim` 1 or 2; 0 where all are padded."""
    total = cells.masked_fill(padding[..., None], 0.0).sum(dim)
    return total / (~padding).sum(dim).clamp(min=1)[..., None].to(total)
