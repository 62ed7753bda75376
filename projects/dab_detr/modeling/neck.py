"""Necks turn the backbone's feature maps into the memory of the transformer."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import MaskedGroupNorm
from .structures import Memory


class SingleScaleNeck(nn.Module):
    """Projects one feature map to `dim` channels by a 1 x 1 convolution. Its cells become the memory.

    feature: the name of the backbone's output, for example "res5", which has `in_channels` channels.
    position: (B, H, W) padding to (B, H, W, dim), see `positional.PositionMap`.
    """

    def __init__(self, *, feature: str, in_channels: int, dim: int, position: nn.Module):
        super().__init__()
        self.in_channels, self.num_levels, self.dim = {feature: in_channels}, 1, dim
        self.feature, self.position = feature, position
        self.projection = nn.Conv2d(in_channels, dim, kernel_size=1)

    def forward(self, features: dict[str, Tensor], padding: Tensor) -> Memory:
        """features[feature] (B, in_channels, h, w) and the padding (B, H, W) of the images, True where padded."""
        content = self.projection(features[self.feature])
        padding = resize_padding(padding, content)
        # Nothing attends to padded cells, but an overflow in one would still reach others as 0 * inf.
        content = content.masked_fill(padding[:, None], 0.0)
        return to_memory([content], [padding], [self.position(padding)], self.position.encode, exact=True)


class MultiScaleNeck(nn.Module):
    """Projects several feature maps to `dim` channels, with group norm. Further stride-2 convolutions of the last map
    add levels until there are `num_levels`.

    in_channels: channels of each output of the backbone that it takes, e.g. {"res3": 512, "res4": 1024, "res5": 2048}.
    position: (B, H, W) padding to (B, H, W, P), see `positional`.
    level_embed: whether to add a learned vector per level to the position of its cells.
    exact_padding: whether an image gives the same results alone and in a padded batch, from the feature map on: see
        `Memory.exact`. The released weights were trained without it. It changes nothing where no image is padded.
    """

    def __init__(
        self,
        *,
        in_channels: Mapping[str, int],
        num_levels: int,
        dim: int,
        position: nn.Module,
        level_embed: bool = True,
        groups: int = 32,
        exact_padding: bool = False,
    ):
        super().__init__()
        if num_levels < len(in_channels):
            raise ValueError(
                f"model.neck.num_levels={num_levels} is less than the {len(in_channels)} maps of model.neck.in_channels"
            )
        self.in_channels, self.num_levels, self.dim = dict(in_channels), num_levels, dim
        self.position, self.exact_padding = position, exact_padding
        channels = list(in_channels.values())
        lateral = [nn.Conv2d(c, dim, kernel_size=1) for c in channels]
        extra = [channels[-1]] + [dim] * num_levels
        further = [nn.Conv2d(extra[i], dim, 3, stride=2, padding=1) for i in range(num_levels - len(channels))]
        self.projections = nn.ModuleList(
            nn.Sequential(conv, MaskedGroupNorm(groups, dim)) for conv in lateral + further
        )
        for conv, _ in self.projections:
            nn.init.xavier_uniform_(conv.weight)
            nn.init.zeros_(conv.bias)
        self.level_embed = nn.Parameter(torch.randn(num_levels, dim)) if level_embed else None

    def forward(self, features: dict[str, Tensor], padding: Tensor) -> Memory:
        """Feature maps (B, channels, h, w) by name and the padding (B, H, W) of the images, True where padded."""
        maps, paddings = (self.exact_maps if self.exact_padding else self.maps)(features, padding)
        positions = [self.position(x) for x in paddings]
        if self.level_embed is not None:
            positions = [x + level for x, level in zip(positions, self.level_embed, strict=True)]
        return to_memory(maps, paddings, positions, self.position.encode, exact=self.exact_padding)

    def maps(self, features: dict[str, Tensor], padding: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Maps (B, dim, h, w) of all levels and their paddings (B, h, w), as the originals make them: convolutions and
        norms see the padding."""
        inputs = [features[name] for name in self.in_channels]
        maps = [project(x) for project, x in zip(self.projections, inputs, strict=False)]
        below = inputs[-1]
        for project in self.projections[len(inputs) :]:
            below = project(below)
            maps.append(below)
        return maps, [resize_padding(padding, x) for x in maps]

    def exact_maps(self, features: dict[str, Tensor], padding: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Maps and paddings as if each image were alone: convolutions read 0 beyond its border."""
        maps, paddings = [], []
        for i, (conv, norm) in enumerate(self.projections):
            if i < len(self.in_channels):
                above = features[list(self.in_channels)[i]]
                padded = around = resize_padding(padding, above)
                content = above
            else:  # the first from the backbone's last map as it is, the next from the level above
                content = above if i == len(self.in_channels) else maps[-1]
                around, padded = paddings[-1], paddings[-1][:, ::2, ::2].contiguous()
            maps.append(norm(conv(content.masked_fill(around[:, None], 0.0)), padded))
            paddings.append(padded)
        return maps, paddings


def resize_padding(padding: Tensor, features: Tensor) -> Tensor:
    """Padding (B, H, W) of the images as (B, h, w) of a feature map (B, C, h, w)."""
    return F.interpolate(padding[:, None].float(), size=features.shape[-2:])[:, 0].bool()


def to_memory(
    maps: Sequence[Tensor], paddings: Sequence[Tensor], positions: Sequence[Tensor], encode, exact: bool = False
) -> Memory:
    """Maps (B, C, h, w) with their paddings (B, h, w) and positions (B, h, w, P), flattened and concatenated."""
    content = torch.cat([x.flatten(2).transpose(1, 2) for x in maps], 1)
    valid = [(~x).to(torch.promote_types(content.dtype, torch.float32)) for x in paddings]
    return Memory(
        content=content,
        position=torch.cat([x.flatten(1, 2) for x in positions], 1).to(content.dtype),
        padding=torch.cat([x.flatten(1) for x in paddings], 1),
        shapes=tuple(tuple(x.shape[-2:]) for x in maps),
        valid_ratios=torch.stack([torch.stack([x[:, 0].mean(1), x[:, :, 0].mean(1)], -1) for x in valid], 1),
        encode=encode,
        exact=exact,
    )
