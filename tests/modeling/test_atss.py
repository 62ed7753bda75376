"""The ATSS head: what its anchors cost."""

import math

import pytest
import torch
from torch import Tensor

from dab_detr.modeling.atss import ATSSHead, centerness_of
from dab_detr.modeling.structures import Samples, Scene

SIZES = [(6, 8), (3, 4)]  # maps of strides 8 and 16; the image has 40 x 56 pixels of 48 x 64


def answered(boxes: list[list[float]], labels: list[int]) -> tuple[ATSSHead, list[tuple], Samples, Tensor]:
    """The head, its answers for each anchor, what it teaches, and which anchors lie in the image."""
    torch.manual_seed(0)
    head = ATSSHead(dim=16, num_classes=3, strides=[8, 16], anchor_size=2.0).double()
    maps = [torch.randn(1, 16, *size).double() for size in SIZES]
    inside = [torch.zeros(1, *size, dtype=torch.bool) for size in SIZES]
    inside[0][:, :5, :7] = inside[1][:, :3, :4] = True
    scene = Scene((40, 56), torch.tensor(labels, dtype=torch.long), torch.tensor(boxes).double().view(-1, 4), None)
    answers = [torch.cat(x, 1)[0].tolist() for x in zip(*head.answers(maps), strict=True)]
    return (
        head,
        list(zip(*answers, strict=True)),
        head(maps, inside, [scene])[0],
        torch.cat([x.flatten() for x in inside]),
    )


def focal(logit: float, present: bool) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -0.25 * (1 - p) ** 2 * math.log(p) if present else -0.75 * p**2 * math.log(1 - p)


def giou(a: list[float], b: list[float]) -> float:
    common = max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
    union = sum((x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)) - common
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return common / union - (hull - union) / hull


@torch.no_grad()
def test_losses_by_hand():
    """Anchor by anchor: those in the padding cost nothing, boxes and centerness those with an object alone."""
    boxes, labels = [[4.0, 3.0, 25.0, 22.0], [20.0, 8.0, 56.0, 40.0]], [2, 0]
    _, answers, samples, valid = answered(boxes, labels)
    classes = distance = weights = entropy = 0.0
    for i, ((logits, deltas, (center,)), object) in enumerate(zip(answers, samples.objects.tolist(), strict=True)):
        if not valid[i]:
            assert object == -1 and samples.boxes[i].tolist() == [0.0] * 4
            continue
        classes += sum(focal(logit, object >= 0 and labels[object] == k) for k, logit in enumerate(logits))
        if object >= 0:
            x0, y0, x1, y1 = samples.boxes[i].tolist()
            x, y, side = (x0 + x1) / 2, (y0 + y1) / 2, x1 - x0
            dx, dy, dw, dh = (d * s for d, s in zip(deltas, (0.1, 0.1, 0.2, 0.2), strict=True))
            u, v, w, h = x + dx * side, y + dy * side, side * math.exp(dw), side * math.exp(dh)
            own = boxes[object]
            sides = [(x - own[0], own[2] - x), (y - own[1], own[3] - y)]
            wanted = math.sqrt(math.prod(min(pair) / max(pair) for pair in sides))
            weights += wanted
            distance += wanted * (1 - giou([u - w / 2, v - h / 2, u + w / 2, v + h / 2], own))
            entropy += math.log(1 + math.exp(center)) - wanted * center
    positive = (samples.objects >= 0).sum().item()
    found = {name: [x.item() for x in loss] for name, loss in samples.losses.items()}
    assert positive > 2 and set(samples.objects.tolist()) == {-1, 0, 1}
    assert found["loss_atss_class"] == pytest.approx([classes, positive])
    assert found["loss_atss_box"] == pytest.approx([2 * distance, weights], rel=1e-5)
    assert found["loss_atss_centerness"] == pytest.approx([entropy, positive])


@torch.no_grad()
def test_an_image_without_objects_teaches_background():
    _, answers, samples, valid = answered([], [])
    classes = sum(
        focal(x, False) for (logits, *_), inside in zip(answers, valid, strict=True) if inside for x in logits
    )
    assert (samples.objects == -1).all()
    assert [x.item() for x in samples.losses["loss_atss_class"]] == pytest.approx([classes, 1])
    assert [x.item() for x in samples.losses["loss_atss_box"]] == [0, 0]
    assert [x.item() for x in samples.losses["loss_atss_centerness"]] == [0, 1]


def test_centerness_is_1_at_the_center_and_0_at_the_border():
    box = torch.tensor([[0.0, 0.0, 10.0, 20.0]])
    for point, expected in (((5, 10), 1.0), ((2, 10), 0.5), ((2, 4), 0.25), ((0, 10), 0.0)):
        assert centerness_of(torch.tensor([point]).float(), box).item() == pytest.approx(expected)
