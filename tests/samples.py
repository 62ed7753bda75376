"""What tests work with: random boxes, predictions, targets and inputs, and models whose queries differ."""

import copy
from collections.abc import Sequence
from functools import cache

import torch
from detectron2.structures import Boxes, Instances
from detectron2.utils.events import EventStorage
from torch import Tensor
from torchvision.ops import box_convert

from dab_detr.detector import DABDETR
from dab_detr.modeling.neck import to_memory
from dab_detr.modeling.structures import Memory, Prediction, Target
from golden_cases import load_case, load_original, small_model

LOSSES = {f"{name}{layer}" for name in ("loss_ce", "loss_bbox", "loss_giou") for layer in ("", "_0", "_1")}


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


def random_memory(
    *valid: Sequence[tuple[int, int]],
    dim: int = 8,
    position_dim: int | None = None,
    dtype: torch.dtype = torch.float32,
) -> Memory:
    """Levels one after the other, each given by the (height, width) of what is image for every image of the batch.

    The map of a level is as large as its largest image. Content and position are random, in the padding too.
    """
    maps, paddings, positions = [], [], []
    for sizes in valid:
        padding = torch.ones(len(sizes), max(h for h, _ in sizes), max(w for _, w in sizes), dtype=torch.bool)
        for i, (h, w) in enumerate(sizes):
            padding[i, :h, :w] = False
        maps.append(torch.randn(len(sizes), dim, *padding.shape[1:], dtype=dtype))
        positions.append(torch.randn(*padding.shape, position_dim or dim, dtype=dtype))
        paddings.append(padding)
    return to_memory(maps, paddings, positions, encode=None)


def worst(a: Tensor, b: Tensor) -> float:
    """The largest absolute difference; shapes and dtypes must agree."""
    assert a.shape == b.shape and a.dtype == b.dtype
    return (a - b).abs().max().item() if a.numel() else 0.0


@cache
def golden_master(case: str) -> DABDETR:
    golden = load_case(case)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)  # of the backbone, which no golden case has
        model = small_model(golden.meta["options"])
    load_original(model, golden.state)
    return model


def golden_model(case: str = "base") -> DABDETR:
    """With the weights of a golden case, so that queries differ: freshly initialised ones hide mistakes."""
    return copy.deepcopy(golden_master(case))


def random_input(height: int = 96, width: int = 128, objects: int | None = None, **others) -> dict:
    """An input of Detectron2's: a random image and, where their number is given, random objects of 7 classes."""
    entry = {"image": torch.randint(256, (3, height, width), dtype=torch.uint8)} | others
    if objects is not None:
        boxes = box_convert(random_boxes(objects), "cxcywh", "xyxy") * torch.tensor([width, height, width, height])
        entry["instances"] = ground_truth(height, width, boxes, torch.randint(7, (objects,)))
    return entry


def ground_truth(height: int, width: int, boxes: torch.Tensor, classes: torch.Tensor) -> Instances:
    return Instances((height, width), gt_boxes=Boxes(boxes), gt_classes=classes)


def train(model: DABDETR, inputs: list[dict]) -> dict[str, torch.Tensor]:
    """One backward pass; the losses."""
    model.train().zero_grad()
    with EventStorage():
        losses = model(inputs)
    sum(losses.values()).backward()
    return losses


def check_trained(model: DABDETR, losses: dict[str, torch.Tensor]) -> None:
    """Finite scalars under the right names, and a finite gradient for every parameter that wants one."""
    assert set(losses) == LOSSES
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
