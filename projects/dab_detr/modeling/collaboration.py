"""Collaborative training (Co-DETR): auxiliary heads help to train the encoder and the decoder.

The heads assign many samples to each object. They exist in training only. Their positive samples become further queries
of the same decoder. These queries know their object without matching.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_convert

from .anchors import cells_inside, draw
from .boxes import full_precision, inverse_sigmoid
from .positional import sine_embedding
from .structures import (
    EMPTY,
    HeadAnswer,
    Memory,
    Noised,
    Prediction,
    Queries,
    Samples,
    Scene,
    Target,
    blocked_between,
)

FEWEST = 9  # the original fills up the queries of an image to at least this number


class SampleEncoding(nn.Module):
    """Makes the content of queries from samples of a head.

    learned_positions: whether to make positions from the boxes too.
    see_features: whether the content holds the features of the samples beside their boxes, as in Co-Deformable-DETR.
        Co-DINO uses only the boxes.
    """

    def __init__(self, *, dim: int, learned_positions: bool, see_features: bool):
        super().__init__()
        self.dim, self.parts = dim, 2 if learned_positions else 1
        self.box = nn.Sequential(nn.Linear(2 * dim, self.parts * dim), nn.LayerNorm(self.parts * dim))
        self.feature = nn.Sequential(nn.Linear(dim, dim), nn.LayerNorm(dim)) if see_features else None

    def forward(self, boxes: Tensor, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """Encode normalized boxes (B, Q, 4) and features (B, Q, C) as content and positions (B, Q, C), or None."""
        x, y, *size = inverse_sigmoid(boxes, 1e-5).sigmoid().split(1, -1)
        sine = sine_embedding(torch.cat([y, x, *size], -1), self.dim // 2)  # comes out in the order x, y, w, h
        *embed, content = self.box(sine.to(self.box[0].weight.dtype)).chunk(self.parts, -1)
        if self.feature is not None:
            content = content + self.feature(features)
        return content, embed[0] if embed else None


class Collaboration(nn.Module):
    """Runs auxiliary heads on the encoder's memory, and the decoder on queries from their positive samples.

    Each image passes through the heads without its padding, so it teaches the same in any batch. Images of one size
    pass together, which is faster.

    heads: each with a `name` and losses that are `shared_by` the images or by their objects; see `ATSSHead`.
    pyramid: turns the maps of the memory into the maps for the heads. stride: stride of the memory's first map.
    weight: factor of the heads' losses; Co-DETR's is 2 for each decoder layer.
    anchor_dim: columns of the anchors of the decoder's queries.
    learned_positions, see_features: see `SampleEncoding`. The decoder's prior determines `learned_positions`.
    most: largest number of queries from one head and image. The image's seed decides which samples they are.
    as_original: for comparison with the original: heads see the padding, random negative samples fill up images with
        few positive ones, and losses are divided by the samples of all images in this process.
    """

    def __init__(
        self,
        *,
        heads: Sequence[nn.Module],
        pyramid: nn.Module,
        dim: int,
        stride: int,
        weight: float,
        anchor_dim: int = 4,
        learned_positions: bool = False,
        see_features: bool = False,
        most: int = 300,
        as_original: bool = False,
    ):
        super().__init__()
        self.heads = nn.ModuleDict({head.name: head for head in heads})
        self.pyramid, self.stride, self.weight = pyramid, stride, weight
        self.anchor_dim, self.most, self.as_original = anchor_dim, most, as_original
        self.learned_positions = learned_positions
        options = {"dim": dim, "learned_positions": learned_positions, "see_features": see_features}
        self.encodings = nn.ModuleDict({head.name: SampleEncoding(**options) for head in heads})

    def forward(
        self, prediction: Prediction, memory: Memory, padding: Tensor, targets: Sequence[Target], decoder: nn.Module
    ) -> Prediction:
        """Add the losses of each head, and the answers of its positive queries, to the prediction.

        padding: (B, H, W) bool of the images, True where padded.
        """
        scenes = scenes_of(padding, targets)
        groups = self.groups(scenes)
        views = [self.view(memory, images, scenes) for images in groups]
        answers = []
        for name, head in self.heads.items():
            samples = {}
            for images, view in zip(groups, views, strict=True):
                samples.update(zip(images, head(*view, [scenes[i] for i in images]), strict=True))
            samples = [samples[i] for i in range(len(scenes))]
            queries = self.queries(samples, scenes, targets, self.encodings[name])
            positives = decoder(queries, memory).denoised
            answers.append(HeadAnswer(name, self.losses(head, samples, targets), head.shared_by, positives))
        return replace(prediction, heads=tuple(answers))

    def groups(self, scenes: Sequence[Scene]) -> list[list[int]]:
        """Indices of the images that pass through the heads together: those of one size, or all with `as_original`."""
        groups = {}
        for i, scene in enumerate(scenes):
            groups.setdefault(None if self.as_original else scene.size, []).append(i)
        return list(groups.values())

    def view(self, memory: Memory, images: Sequence[int], scenes: Sequence[Scene]) -> tuple[list[Tensor], list[Tensor]]:
        """The maps (G, C, h, w) of G images for the heads, and their masks (G, h, w), True inside the images."""
        levels = memory.content[list(images)].split([height * width for height, width in memory.shapes], 1)
        maps = [x.mT.unflatten(2, shape) for x, shape in zip(levels, memory.shapes, strict=True)]
        size = scenes[images[0]].size
        maps = self.pyramid(self.trimmed(maps, self.stride, size))
        stride = self.stride // 2 ** len(self.pyramid.finer)
        maps = self.trimmed(maps, stride, size)
        inside = [
            torch.stack([cells_inside(x.shape[-2:], stride * 2**level, scenes[i].size, x.device) for i in images])
            for level, x in enumerate(maps)
        ]
        return maps, inside

    def trimmed(self, maps: Sequence[Tensor], stride: int, size: tuple[int, int]) -> list[Tensor]:
        """Cut the padding around images of this size, (height, width), off the maps, except with `as_original`."""
        if self.as_original:
            return list(maps)
        height, width = size
        strides = [stride * 2**i for i in range(len(maps))]
        return [x[..., : -(-height // s), : -(-width // s)] for x, s in zip(maps, strides, strict=True)]

    def losses(self, head: nn.Module, samples: Sequence[Samples], targets: Sequence[Target]) -> dict[str, Tensor]:
        """Losses (B,) of the images. The criterion divides them by the images or the objects of the effective batch."""
        shares = [len(target.labels) if head.shared_by == "objects" else 1 for target in targets]
        losses = {}
        for name in samples[0].losses:
            sums, counts = (torch.stack(x) for x in zip(*(x.losses[name] for x in samples), strict=True))
            losses[name] = self.weight * sums * self.weights(counts.to(sums), shares)
        return losses

    def weights(self, counts: Tensor, shares: Sequence[int]) -> Tensor:
        """Weights (B,): one number per image, for all of its samples.

        Together, the samples of an image weigh as much as its objects. One sample weighs at most as much as one object.
        Other images have no influence. In the original, all samples of the batch have the same weight.

        counts: (B,) samples of each image. shares: objects of each image, or 1 for losses that images share equally.
        """
        shares = counts.new_tensor(shares)
        if self.as_original:
            return shares.sum().clamp(min=1) / counts.sum().clamp(min=1).expand_as(counts)
        shares = shares.clamp(min=1)
        return shares / torch.maximum(counts, shares)

    def chosen(self, samples: Sequence[Samples], scenes: Sequence[Scene]) -> list[Tensor]:
        """Indices of the samples of each image that become queries, those with an object first."""
        if self.as_original:
            return self.filled_up([x.objects for x in samples], scenes)
        positives = [(x.objects >= 0).nonzero()[:, 0] for x in samples]
        return [draw(x, self.most, scene.generator()) for x, scene in zip(positives, scenes, strict=True)]

    def filled_up(self, objects: Sequence[Tensor], scenes: Sequence[Scene]) -> list[Tensor]:
        """Choose samples as the original does, the same number in every image.

        The number is enough for the image with the most positive samples, and at least `FEWEST`. If an image has fewer
        samples than others, only that many of each image take part.
        """
        fewest = min(len(x) for x in objects)
        positives = [(x[:fewest] >= 0).nonzero()[:, 0] for x in objects]
        number = max(FEWEST, min(self.most, max(len(x) for x in positives)))
        chosen = []
        for x, positive, scene in zip(objects, positives, scenes, strict=True):
            positive = draw(positive, number, scene.generator())
            negative = draw((x[:fewest] < 0).nonzero()[:, 0], number - len(positive), scene.generator())
            chosen.append(torch.cat([positive, negative]))
        return chosen

    def queries(
        self,
        samples: Sequence[Samples],
        scenes: Sequence[Scene],
        targets: Sequence[Target],
        encoding: nn.Module,
    ) -> Queries:
        """Queries (B, Q) from the chosen samples. Images with fewer of them than others have empty slots."""
        chosen = self.chosen(samples, scenes)
        objects = in_slots([x.objects[i] for x, i in zip(samples, chosen, strict=True)])
        sizes = [x.boxes.new_tensor(scene.size).flip(0).repeat(2) for x, scene in zip(samples, scenes, strict=True)]
        boxes = in_slots([x.boxes[i] / size for x, i, size in zip(samples, chosen, sizes, strict=True)])
        valid = in_slots([torch.ones_like(i, dtype=torch.bool) for i in chosen])
        boxes = torch.where(valid[..., None], box_convert(boxes, "xyxy", "cxcywh"), 0.5)
        positive = valid & (objects >= 0)
        weights = self.weights(positive.sum(1).to(boxes), [len(target.labels) for target in targets])
        content, embed = encoding(boxes, in_slots([x.features[i] for x, i in zip(samples, chosen, strict=True)]))
        # index -1 finds the last row, which stands for "no object"
        rows = [F.pad(target.boxes, (0, 0, 0, 1)) for target in targets]
        labels = [F.pad(target.labels, (0, 1)) for target in targets]
        return Queries(
            content=content,
            anchors=boxes[..., : self.anchor_dim],
            embed=embed,
            blocked=blocked_between(torch.where(valid, 0, EMPTY)),
            noised=Noised(
                labels=torch.stack([x[i] for x, i in zip(labels, objects, strict=True)]),
                boxes=torch.stack([x[i] for x, i in zip(rows, objects, strict=True)]),
                positive=positive,
                weight=weights[:, None] * valid,
            ),
        )


def in_slots(rows: Sequence[Tensor]) -> Tensor:
    """Stack tensors (n, ...) of the images as (B, Q, ...), with zeros where an image has fewer; Q is at least 1."""
    slots = max(1, *(len(x) for x in rows))
    return torch.stack([F.pad(x, (0, 0) * (x.dim() - 1) + (0, slots - len(x))) for x in rows])


def scenes_of(padding: Tensor, targets: Sequence[Target]) -> list[Scene]:
    """Return the images and their objects in pixels, from the padding (B, H, W) of the batch."""
    heights, widths = (~padding[:, :, 0]).sum(1), (~padding[:, 0]).sum(1)
    scenes = []
    for target, height, width in zip(targets, heights.tolist(), widths.tolist(), strict=True):
        boxes = box_convert(full_precision(target.boxes), "cxcywh", "xyxy")
        boxes = boxes * boxes.new_tensor([width, height, width, height])
        scenes.append(Scene((height, width), target.labels, boxes, target.seed))
    return scenes
