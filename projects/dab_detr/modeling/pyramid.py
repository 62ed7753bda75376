"""A pyramid of feature maps from the memory of an encoder, for the auxiliary heads of collaborative training."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class MemoryPyramid(nn.Module):
    """The maps of a memory, with finer maps before them and coarser ones after them.

    finer: number of maps that are interpolated from the first, each twice as fine as the next, then convolved.
    coarser: number of maps that are convolved with stride 2, each from the one before, then normalized in groups.
    """

    def __init__(self, *, dim: int, finer: int, coarser: int):
        super().__init__()
        self.finer = nn.ModuleList(nn.Conv2d(dim, dim, 3, padding=1) for _ in range(finer))
        self.coarser = nn.ModuleList(
            nn.Sequential(nn.Conv2d(dim, dim, 3, stride=2, padding=1), nn.GroupNorm(min(32, dim // 4), dim))
            for _ in range(coarser)
        )

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps (B, C, h, w), finest first, to len(finer) + len(maps) + len(coarser) of them."""
        factors = [2**i for i in range(len(self.finer), 0, -1)]
        finer = [
            conv(F.interpolate(maps[0], scale_factor=factor, mode="bilinear"))
            for conv, factor in zip(self.finer, factors, strict=True)
        ]
        maps = [*finer, *maps]
        for conv in self.coarser:
            maps.append(conv(maps[-1]))
        return maps
