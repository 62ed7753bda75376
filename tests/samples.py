"""Boxes, predictions and targets for tests: random, but a function of their seed."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dab_detr.modeling.neck import to_memory
from dab_detr.modeling.structures import Memory, Prediction, Target


def random_boxes(*shape: int, seed: int = 0) -> Tensor:
    """(*shape, 4) cxcywh inside the image, with sides of 0.05 to 0.4."""
    generator = torch.Generator().manual_seed(seed)
    size = 0.05 + 0.35 * torch.rand(*shape, 2, generator=generator)
    centre = size / 2 + (1 - size) * torch.rand(*shape, 2, generator=generator)
    return torch.cat([centre, size], -1)


def random_prediction(
    layers: int = 2, images: int = 2, queries: int = 5, classes: int = 4, seed: int = 0
) -> Prediction:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(layers, images, queries, classes, generator=generator)
    return Prediction(logits=logits, boxes=random_boxes(layers, images, queries, seed=seed + 1))


def random_targets(counts: Sequence[int], classes: int = 4, seed: int = 0) -> list[Target]:
    """One target for each of `counts`, with that many objects."""
    generator = torch.Generator().manual_seed(seed)
    return [
        Target(
            labels=torch.randint(classes, (count,), generator=generator),
            boxes=random_boxes(count, seed=seed + 100 + i),
        )
        for i, count in enumerate(counts)
    ]


def random_memory(*valid: Sequence[tuple[int, int]], dim: int = 8, position_dim: int | None = None) -> Memory:
    """Levels one after the other, each given by the (height, width) of what is image for every image of the batch.

    The map of a level is as large as its largest image. Content and position are random, in the padding too.
    """
    maps, paddings, positions = [], [], []
    for sizes in valid:
        padding = torch.ones(len(sizes), max(h for h, _ in sizes), max(w for _, w in sizes), dtype=torch.bool)
        for i, (h, w) in enumerate(sizes):
            padding[i, :h, :w] = False
        maps.append(torch.randn(len(sizes), dim, *padding.shape[1:]))
        positions.append(torch.randn(*padding.shape, position_dim or dim))
        paddings.append(padding)
    return to_memory(maps, paddings, positions, encode=None)


def worst(a: Tensor, b: Tensor) -> float:
    """The largest absolute difference; shapes and dtypes must agree."""
    assert a.shape == b.shape and a.dtype == b.dtype
    return (a - b).abs().max().item() if a.numel() else 0.0
