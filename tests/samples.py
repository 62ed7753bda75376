"""Boxes, predictions and targets for tests: random, but a function of their seed."""

from collections.abc import Sequence

import torch
from torch import Tensor

from dab_detr.modeling.structures import Prediction, Target


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


def worst(a: Tensor, b: Tensor) -> float:
    """The largest absolute difference; shapes and dtypes must agree."""
    assert a.shape == b.shape and a.dtype == b.dtype
    return (a - b).abs().max().item() if a.numel() else 0.0
