"""Necks: from the backbone's feature maps to the memory of the transformer."""

import torch.nn.functional as F
from torch import Tensor, nn

from .structures import Memory


class SingleScaleNeck(nn.Module):
    """One feature map, projected to `dim` channels by a 1 x 1 convolution; its cells become the memory.

    feature: the name of the backbone's output, e.g. "res5", which has `in_channels` channels.
    position: (B, H, W) padding to (B, H, W, dim), see `positional.PositionMap`.
    """

    def __init__(self, *, feature: str, in_channels: int, dim: int, position: nn.Module):
        super().__init__()
        self.in_channels = {feature: in_channels}
        self.feature, self.position = feature, position
        self.projection = nn.Conv2d(in_channels, dim, kernel_size=1)

    def forward(self, features: dict[str, Tensor], padding: Tensor) -> Memory:
        """features[feature] (B, in_channels, h, w) and the padding (B, H, W) of the images, True where padded."""
        features = features[self.feature]
        padding = F.interpolate(padding[:, None].float(), size=features.shape[-2:])[:, 0].bool()
        content = self.projection(features).flatten(2).transpose(1, 2)
        # Nothing attends to padded cells, but an overflow there would still reach others as 0 * inf.
        content = content.masked_fill(padding.flatten(1)[..., None], 0.0)
        return Memory(
            content=content,
            position=self.position(padding).flatten(1, 2).to(content.dtype),
            padding=padding.flatten(1),
        )
