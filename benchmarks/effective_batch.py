"""Differences between the gradients of a batch of 8 that is split in several ways, in fp64 and fp32.

python -m benchmarks.effective_batch
"""

import torch
from detectron2.config import instantiate
from detectron2.structures import Boxes, Instances

from dab_detr.config import load
from dab_detr.engine.loop import TrainingLoop, micro_batches

OBJECTS = [3, 0, 2, 1, 0, 0, 4, 1]
SIZES = {
    "equal": [(96, 96)] * 8,
    "unequal": [(96, 96), (64, 96), (96, 128), (80, 80), (64, 64), (96, 72), (48, 96), (96, 96)],
}


def images(sizes: list[tuple[int, int]]) -> list[dict]:
    """Random pictures with random objects."""
    torch.manual_seed(0)
    batch = []
    for seed, (count, (height, width)) in enumerate(zip(OBJECTS, sizes, strict=True)):
        corners = torch.rand(count, 2, 2).sort(1).values.flatten(1) * torch.tensor([width, height, width, height])
        objects = Instances((height, width), gt_boxes=Boxes(corners), gt_classes=torch.randint(3, (count,)))
        picture = torch.randint(256, (3, height, width), dtype=torch.uint8)
        batch.append({"image": picture, "instances": objects, "seed": seed})
    return batch


def detector(dtype: torch.dtype, groups: int) -> torch.nn.Module:
    """The demo's detector, with frozen batch norm statistics and without dropout."""
    node = load("configs/shapes/dab_detr.py").model
    node.backbone.norm, node.denoising.groups = "FrozenBN", groups
    torch.manual_seed(0)
    return instantiate(node).to(dtype)


def gradients(model: torch.nn.Module, batch: list[dict], accumulate: int) -> list[torch.Tensor]:
    model.zero_grad()
    loop = TrainingLoop(model, [], torch.optim.SGD(model.parameters(), lr=0.0))
    loop.backward(micro_batches(batch, accumulate))
    return [x.grad.clone() for x in model.parameters() if x.requires_grad]


def difference(ours: list[torch.Tensor], whole: list[torch.Tensor]) -> float:
    """The norm of the difference divided by the norm of the gradient, over all parameters together."""
    flat, expected = (torch.cat([x.flatten() for x in gradient]) for gradient in (ours, whole))
    return float((flat - expected).norm() / expected.norm())


def main() -> None:
    """Print the table of docs/effective_batch.md."""
    print("| sizes | precision | denoising | 4 x 2 | 2 x 4 | 1 x 8 |\n|---|---|---|---|---|---|")
    for name, sizes in SIZES.items():
        batch = images(sizes)
        for dtype in (torch.float64, torch.float32):
            for groups in (0, 5):
                model = detector(dtype, groups)
                whole = gradients(model, batch, 1)
                found = [f"{difference(gradients(model, batch, cuts), whole):.0e}" for cuts in (2, 4, 8)]
                print(f"| {name} | {str(dtype)[6:]} | {'on' if groups else 'off'} | {' | '.join(found)} |")


if __name__ == "__main__":
    main()
