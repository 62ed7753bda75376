"""Denoising (DN-DETR): noised copies of the true objects as further queries, which learn without matching."""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .boxes import inverse_sigmoid
from .structures import Noised, Queries, Target


class Denoising(nn.Module):
    """In training, puts `groups` noised copies of each image's objects before the queries of any head with anchors.

    A query is told what it is by the embedding of a label, with a last channel that says whether it is noised; the
    matching queries get the embedding of "no label", at inference too, unless their own content is learned.

    content_dim, anchor_dim: of the query head. Its content has `dim` channels, or dim - 1 where it is learned and only
        the last channel is missing, as in DN-DAB-Deformable-DETR.
    label_noise: the probability that a label is replaced by a random one.
    box_noise: the most that centers move, in halves of the box's size, and that sizes change, in sizes.
    eps: of the inverse sigmoid that anchors go through.
    see_padding: whether objects attend to the empty slots of images with fewer than the most, as in the original, whose
        answers depend on the other images of the batch by that.
    """

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
                "model.denoising.groups needs model.queries with anchors: "
                "a learned position has no place for a noised box"
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

    def forward(self, queries: Queries, targets: Sequence[Target] | None) -> Queries:
        """The queries as the decoder wants them; with targets, the noised ones of every group before them."""
        content = F.pad(queries.content, (0, self.missing))
        if not self.missing:
            content = content + F.pad(self.labels[-1], (0, 1))
        queries = replace(queries, content=content)
        return queries if targets is None else self.with_noised(queries, targets)

    def with_noised(self, queries: Queries, targets: Sequence[Target]) -> Queries:
        """Slots (B, P): group by group, in each as many as the image with most objects has."""
        counts = [len(target.labels) for target in targets]
        single = max(counts)
        batch, slots = len(targets), self.groups * single
        labels = torch.cat([target.labels for target in targets]).repeat(self.groups)
        boxes = torch.cat([target.boxes for target in targets]).repeat(self.groups, 1).to(queries.anchors.dtype)
        image, slot = slots_of(counts, self.groups, labels.device)
        draws = draws_for(targets, self.groups).to(boxes.device)
        noised_labels, noised_boxes = self.noise(labels, boxes, draws)

        content = queries.content.new_zeros(batch, slots, queries.content.shape[-1])
        content[image, slot] = F.pad(self.labels[noised_labels], (0, 1), value=1.0).to(content.dtype)
        anchors = queries.anchors.new_full((batch, slots, 4), 0.5)
        anchors[image, slot] = inverse_sigmoid(noised_boxes, self.eps).sigmoid().to(anchors.dtype)
        valid = scatter(labels.new_zeros(batch, slots, dtype=torch.bool), image, slot, True)
        matching = queries.content.shape[1]
        blocked = blocked_between(self.groups, single, matching, labels.device)
        if not self.see_padding:
            blocked = blocked | F.pad(~valid, (0, matching))[:, None, None]
        return replace(
            queries,
            content=torch.cat([content, queries.content], 1),
            anchors=torch.cat([anchors[..., : self.anchor_dim], queries.anchors], 1),
            blocked=blocked,
            noised=Noised(
                labels=scatter(labels.new_zeros(batch, slots), image, slot, labels),
                boxes=scatter(boxes.new_zeros(batch, slots, 4), image, slot, boxes),
                positive=valid,
                weight=valid.to(boxes.dtype) / self.groups,
            ),
        )

    def noise(self, labels: Tensor, boxes: Tensor, draws: Tensor) -> tuple[Tensor, Tensor]:
        """Noised labels (N,) and boxes (N, 4). A new label may be the true one, and never is "no label".

        draws: (N, 6) uniform in [0, 1): whether the label is replaced, by which, and how the box moves and grows.
        """
        others = (draws[:, 1] * self.num_classes).to(labels)
        labels = torch.where(draws[:, 0] < self.label_noise, others, labels)
        reach = torch.cat([boxes[:, 2:] / 2, boxes[:, 2:]], 1) * self.box_noise
        boxes = boxes + (draws[:, 2:] * 2 - 1).to(boxes.dtype) * reach
        return labels, boxes.clamp(0, 1)


def draws_for(targets: Sequence[Target], groups: int) -> Tensor:
    """(groups * N, 6) numbers for `Denoising.noise` in the order group, image, object, on the CPU.

    Those of an image follow from its seed alone, whatever the batch.
    """
    draws = []
    for target in targets:
        generator = None if target.seed is None else torch.Generator().manual_seed(target.seed)
        draws.append(torch.rand(groups, len(target.labels), 6, generator=generator))
    return torch.cat(draws, 1).flatten(0, 1)


def scatter(x: Tensor, image: Tensor, slot: Tensor, value: Tensor | bool) -> Tensor:
    """x (B, P, ...) with `value` at (image, slot)."""
    x[image, slot] = value
    return x


def slots_of(counts: Sequence[int], groups: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Image and slot, each (groups * N,), of every noised object, in the order group, image, object."""
    single = max(counts)
    image = torch.cat([torch.full((n,), i) for i, n in enumerate(counts)])
    place = torch.cat([torch.arange(n) for n in counts])
    slot = (torch.arange(groups)[:, None] * single + place).flatten()
    return image.repeat(groups).to(device), slot.to(device)


def blocked_between(groups: int, single: int, matching: int, device: torch.device) -> Tensor:
    """(Q, Q) bool, True where row must not see column: noised queries of another group, and all of them for the
    matching queries. Everyone sees those."""
    group = torch.arange(groups, device=device).repeat_interleave(single)
    group = torch.cat([group, group.new_full((matching,), -1)])
    return (group[None] != -1) & (group[:, None] != group)


class NoDenoising(nn.Module):
    """Leaves the queries as they are."""

    def forward(self, queries: Queries, targets: Sequence[Target] | None) -> Queries:
        return queries
