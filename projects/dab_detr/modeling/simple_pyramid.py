"""The simple feature pyramid of ViTDet: maps of several strides from the one map of a plain vision transformer."""

from collections.abc import Sequence

import torch.nn.functional as F
from detectron2.modeling import Backbone
from torch import Tensor, nn


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of each cell of a map (B, C, h, w)."""

    def forward(self, maps: Tensor) -> Tensor:
        cells = F.layer_norm(maps.movedim(1, -1), self.normalized_shape, self.weight, self.bias, self.eps)
        return cells.movedim(-1, 1)


class SimplePyramid(Backbone):
    """A backbone with one feature map, and convolutions that make a pyramid from it (ViTDet, Figure 2 a).

    base: a backbone whose only output has a stride of 8 or more, for example a ViT of timm or of Detectron2.
    dim: channels of every map.
    out_features: names of the maps. "res2" has stride 4, "res3" 8, "res4" 16 and "res5" 32. Maps may range from four
        times as fine as the base's map to half as fine.

    Raises ValueError for a base with several outputs and for strides out of reach.
    """

    def __init__(self, *, base: Backbone, dim: int = 256, out_features: Sequence[str] = ("res3", "res4", "res5")):
        super().__init__()
        shapes = base.output_shape()
        if len(shapes) != 1:
            raise ValueError(f"model.backbone.base must have one output, but it has {sorted(shapes)}")
        ((self.feature, shape),) = shapes.items()
        reach = {f"res{(shape.stride // 4).bit_length() - 1 + i}": 4 / 2**i for i in range(4)}
        if missing := [name for name in out_features if name not in reach]:
            raise ValueError(f"model.backbone.out_features may have {list(reach)} on this base, not {missing}")
        self.base = base
        self._out_features = sorted(out_features)
        self.levels = nn.ModuleList(level(shape.channels, dim, reach[name]) for name in self._out_features)
        self._out_feature_channels = dict.fromkeys(self._out_features, dim)
        self._out_feature_strides = {name: int(shape.stride / reach[name]) for name in self._out_features}

    @property
    def size_divisibility(self) -> int:
        return self.base.size_divisibility

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Turn images (B, 3, H, W) into feature maps (B, dim, h, w) by name."""
        only = self.base(images)[self.feature]
        return {name: level(only) for name, level in zip(self._out_features, self.levels, strict=True)}


def level(channels: int, dim: int, factor: float) -> nn.Sequential:
    """The layers of a map that is `factor` times as fine as the base's: 4, 2, 1 or 0.5."""
    half, quarter = channels // 2, channels // 4
    resize, channels = {
        4: (
            [
                nn.ConvTranspose2d(channels, half, 2, stride=2),
                ChannelNorm(half, eps=1e-6),
                nn.GELU(),
                nn.ConvTranspose2d(half, quarter, 2, stride=2),
            ],
            quarter,
        ),
        2: ([nn.ConvTranspose2d(channels, half, 2, stride=2)], half),
        1: ([], channels),
        0.5: ([nn.MaxPool2d(2)], channels),
    }[factor]
    return nn.Sequential(
        *resize,
        nn.Conv2d(channels, dim, 1, bias=False),
        ChannelNorm(dim, eps=1e-6),
        nn.Conv2d(dim, dim, 3, padding=1, bias=False),
        ChannelNorm(dim, eps=1e-6),
    )
