"""Denoising (DN-DETR, DINO): noised copies of the true objects are further queries, which learn without matching."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import box_convert

from .boxes import inverse_sigmoid
from .structures import EMPTY, MATCHING, Noised, Queries, Target, blocked_between


class Denoising(nn.Module):
    """In training, puts `groups` noised copies of each image's objects before the queries of any head with anchors.

    The content of a noised query is the embedding of its label, with a last channel of 1 that marks it as noised.
    Matching queries get the embedding of "no label", also at inference, unless their own content is learned.

    content_dim, anchor_dim: those of the query head. Its content has `dim` channels, or dim - 1 if it is learned and
        only the last channel is missing, as in DN-DAB-Deformable-DETR.
    label_noise: probability of replacing a label with a random one.
    box_noise: largest shift of a center, in halves of the box's size, and largest change of a size, in sizes.
    eps: see `boxes.inverse_sigmoid`.
    see_padding: whether objects attend to the empty slots of images with fewer objects than others. They do in the
        original, so its predictions depend on the other images of the batch.
    """

    copies, background = 1, False  # copies of an object in each group; whether empty slots are examples of background

    def __init__(
        self,
        *,
        dim: int,
        content_dim: int,
        anchor_dim: int,
        num_classes: int,
        groups: int = 5,
        label_noise: float = 0.2,
        box_noise: float = 0.4,
        eps: float = 1e-3,
        see_padding: bool = False,
    ):
        super().__init__()
        if not anchor_dim:
            raise ValueError(
                "model.denoising.groups needs model.queries with anchors: a learned position cannot hold a noised box"
            )
        if content_dim not in (dim, dim - 1):
            raise ValueError(f"model.queries.dim must be {dim} or {dim - 1} for denoising, got {content_dim}")
        self.num_classes, self.groups, self.anchor_dim, self.missing = (
            num_classes,
            groups,
            anchor_dim,
            dim - content_dim,
        )
        self.label_noise, self.box_noise, self.eps, self.see_padding = label_noise, box_noise, eps, see_padding
        self.labels = nn.Parameter(torch.randn(num_classes + 1, dim - 1))  # the last one is "no label"

    def layout(self, counts: Sequence[int]) -> tuple[list[int], list[int]]:
        """The number of groups of each image, and the number of objects that each group has room for."""
        return [self.groups] * len(counts), [max(counts)] * len(counts)

    def embed(self, labels: Tensor) -> Tensor:
        """Content (M, C) of noised queries with these labels."""
        return F.pad(self.labels[labels], (0, 1), value=1.0)

    def forward(self, queries: Queries, targets: Sequence[Target] | None) -> Queries:
        """The queries for the decoder. With targets, the noised queries of every group come first."""
        content = F.pad(queries.content, (0, self.missing))
        if not self.missing:
            content = content + F.pad(self.labels[-1], (0, 1))
        queries = replace(queries, content=content)
        return queries if targets is None else self.with_noised(queries, targets)

    def with_noised(self, queries: Queries, targets: Sequence[Target]) -> Queries:
        """The queries with P slots (B, P) of noised queries before them, one group of an image after the other."""
        device, counts = queries.anchors.device, [len(target.labels) for target in targets]
        groups, room = self.layout(counts)
        (image, slot, source, positive), group = (x.to(device) for x in slots_of(counts, groups, room, self.copies))
        positive = positive.bool()
        labels = torch.cat([target.labels for target in targets])[source]
        boxes = torch.cat([target.boxes for target in targets])[source].to(queries.anchors.dtype)
        draws = draws_for(targets, groups, self.copies).to(device)
        noised_labels, noised_boxes = self.noise(labels, boxes, draws, positive)

        content = queries.content.new_zeros(*group.shape, queries.content.shape[-1])
        content[image, slot] = self.embed(noised_labels).to(content.dtype)
        anchors = queries.anchors.new_full((*group.shape, 4), 0.5)
        anchors[image, slot] = inverse_sigmoid(noised_boxes, self.eps).sigmoid().to(anchors.dtype)
        filled = scatter(torch.zeros_like(group, dtype=torch.bool), image, slot, True)
        seen = group if self.see_padding else group.masked_fill(~filled, EMPTY)
        matching = torch.full(queries.anchors.shape[:2], MATCHING, device=device)
        matching = matching if queries.empty is None else matching.masked_fill(queries.empty, EMPTY)
        counted = seen != EMPTY if self.background else filled
        return replace(
            queries,
            content=torch.cat([content, queries.content], 1),
            anchors=torch.cat([anchors[..., : self.anchor_dim], queries.anchors], 1),
            blocked=blocked_between(torch.cat([seen, matching], 1)),
            noised=Noised(
                labels=scatter(labels.new_zeros(group.shape), image, slot, labels),
                boxes=scatter(boxes.new_zeros(*group.shape, 4), image, slot, boxes),
                positive=scatter(torch.zeros_like(filled), image, slot, positive),
                weight=counted.to(boxes.dtype) / torch.tensor(groups, device=device)[:, None],
            ),
        )

    def noise(self, labels: Tensor, boxes: Tensor, draws: Tensor, positive: Tensor) -> tuple[Tensor, Tensor]:
        """Noised labels (M,) and boxes (M, 4).

        draws: (M, 6) uniform in [0, 1). They decide whether the label is replaced, by which label, and how the box
        moves.
        positive: (M,) whether the query learns the object from this copy; otherwise it learns background.
        """
        return self.noise_labels(labels, draws), self.noise_boxes(boxes, draws[:, 2:] * 2 - 1, positive)

    def noise_labels(self, labels: Tensor, draws: Tensor) -> Tensor:
        """Replace some of the labels. A new label may be the true one; it is never "no label"."""
        others = (draws[:, 1] * self.num_classes).to(labels)
        return torch.where(draws[:, 0] < self.label_noise, others, labels)

    def noise_boxes(self, boxes: Tensor, shift: Tensor, positive: Tensor) -> Tensor:
        """Move and resize boxes by `shift` (M, 4) in [-1, 1)."""
        reach = torch.cat([boxes[:, 2:] / 2, boxes[:, 2:]], 1) * self.box_noise
        return (boxes + shift.to(boxes.dtype) * reach).clamp(0, 1)


class ContrastiveDenoising(Denoising):
    """DINO's denoising: each object has a positive copy near it, and a negative copy farther away that is background.

    The content of a noised query is the embedding of its label. Matching queries stay unchanged.

    num_queries: approximate number of positive copies per image: N objects have num_queries // N groups, at least one.
        Each image's losses are divided by its groups, so that they do not depend on the other images.
    label_noise: probability of replacing a label with a random one; half of the value in the originals' configs.
    box_noise: largest shift of the corners of positive copies, in halves of the box's size. Corners of negative copies
        move at least as far, and at most twice as far. A copy whose corners cross has no width or height.
    groups_of_batch: whether all images have the number of groups of the image with the most objects, as in the
        originals.
    see_padding: with `groups_of_batch`, whether empty slots are visible and are examples of background, as in the
        originals.
    """

    copies, background = 2, True

    def __init__(
        self,
        *,
        dim: int,
        num_classes: int,
        num_queries: int = 100,
        label_noise: float = 0.25,
        box_noise: float = 1.0,
        groups_of_batch: bool = False,
        **options,
    ):
        super().__init__(
            dim=dim, content_dim=dim, num_classes=num_classes, label_noise=label_noise, box_noise=box_noise, **options
        )
        if self.see_padding and not groups_of_batch:
            raise ValueError(
                "model.denoising.see_padding needs groups_of_batch: without it no slot of an image is empty"
            )
        self.num_queries, self.groups_of_batch = num_queries, groups_of_batch
        self.labels = nn.Parameter(torch.randn(num_classes, dim))

    def layout(self, counts: Sequence[int]) -> tuple[list[int], list[int]]:
        room = [max(counts)] * len(counts) if self.groups_of_batch else list(counts)
        return [max(1, self.num_queries // max(1, n)) for n in room], room

    def embed(self, labels: Tensor) -> Tensor:
        return self.labels[labels]

    def forward(self, queries: Queries, targets: Sequence[Target] | None) -> Queries:
        return queries if targets is None else self.with_noised(queries, targets)

    def noise_boxes(self, boxes: Tensor, shift: Tensor, positive: Tensor) -> Tensor:
        """Move the corners of boxes by `shift` (M, 4) in [-1, 1), and those of negative copies by one more."""
        shift = torch.where(positive[:, None], shift, shift + torch.where(shift < 0, -1, 1))
        reach = boxes[:, 2:].repeat(1, 2) / 2 * self.box_noise
        corners = box_convert(boxes, "cxcywh", "xyxy") + shift.to(boxes.dtype) * reach
        return box_convert(corners.clamp(0, 1), "xyxy", "cxcywh")


def draws_for(targets: Sequence[Target], groups: Sequence[int], copies: int = 1) -> Tensor:
    """(M, 6) numbers for `Denoising.noise` in the order image, group, copy, object, on the CPU.

    The numbers of an image depend only on its seed, not on the batch.
    """
    draws = []
    for target, count in zip(targets, groups, strict=True):
        generator = None if target.seed is None else torch.Generator().manual_seed(target.seed)
        draws.append(torch.rand(count * copies * len(target.labels), 6, generator=generator))
    return torch.cat(draws)


def scatter(x: Tensor, image: Tensor, slot: Tensor, value: Tensor | bool) -> Tensor:
    """x (B, P, ...) with `value` at (image, slot)."""
    x[image, slot] = value
    return x


def slots_of(counts: Sequence[int], groups: Sequence[int], room: Sequence[int], copies: int) -> tuple[Tensor, Tensor]:
    """The slots of the noised copies of objects, in the order image, group, copy, object.

    counts, groups, room: for each image, its number of objects, its number of groups, and the number of objects that a
        group has room for.
    copies: number of copies of an object in each group; the first one is positive.

    Returns (4, M) the image, the slot, the object (among the objects of all images) of every noised copy and whether it
    is positive, and (B, P) the group of every slot, `EMPTY` after the last group of an image.
    """
    before, copied = [0, *accumulate(counts)], []
    for i, (count, number, width) in enumerate(zip(counts, groups, room, strict=True)):
        row, source = torch.meshgrid(torch.arange(number * copies), torch.arange(count), indexing="ij")
        copied.append(
            torch.stack([torch.full_like(row, i), row * width + source, before[i] + source, row % copies == 0])
        )
    sizes = [copies * width for width in room]
    slots = torch.arange(max(n * size for n, size in zip(groups, sizes, strict=True)))
    group = [
        (slots // max(1, size)).masked_fill(slots >= n * size, EMPTY) for n, size in zip(groups, sizes, strict=True)
    ]
    return torch.cat([x.flatten(1) for x in copied], 1), torch.stack(group)


class NoDenoising(nn.Module):
    """Returns the queries unchanged."""

    def forward(self, queries: Queries, targets: Sequence[Target] | None) -> Queries:
        return queries
