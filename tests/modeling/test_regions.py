"""The Faster R-CNN head: what its anchors and regions belong to, and what they cost."""

import pytest
import torch
import torch.nn.functional as F

from dab_detr.modeling.anchors import cells_inside
from dab_detr.modeling.regions import RegionHead
from dab_detr.modeling.structures import Scene

NO_OBJECTS = Scene((64, 64), torch.zeros(0, dtype=torch.long), torch.zeros(0, 4), 0)
ONE = Scene((64, 64), torch.tensor([3]), torch.tensor([[8.0, 8.0, 40.0, 40.0]]), 0)


def small(**options) -> RegionHead:
    torch.manual_seed(0)
    options = {"anchor_size": 2.0, "num_anchors": 40, "num_regions": 12, "proposals": [50, 20]} | options
    return RegionHead(dim=16, num_classes=5, strides=[8, 16, 32], hidden=8, **options)


def view() -> tuple:
    torch.manual_seed(1)
    maps = [torch.randn(1, 16, 64 // stride, 64 // stride) for stride in (8, 16, 32)]
    return maps, [torch.ones(1, *x.shape[-2:], dtype=torch.bool) for x in maps]


def test_anchors_in_the_padding_are_nobodys():
    """The object overlaps one of those the most. It has the anchor that it has where there is no padding."""
    head = RegionHead(dim=16, num_classes=5, strides=[16, 32], anchor_size=1.0)
    scene = Scene((64, 64), torch.tensor([1]), torch.tensor([[49.0, 24.0, 64.0, 40.0]]), None)

    def assigned(side: int) -> torch.Tensor:
        """(h, w, 9) of the first map."""
        maps = [torch.zeros(1, 16, side // stride, side // stride) for stride in (16, 32)]
        inside = [cells_inside(x.shape[-2:], 16 * 2**i, scene.size, x.device) for i, x in enumerate(maps)]
        anchors = torch.cat([x.tensor for x in head.anchors(maps)])
        return head.assigned(anchors, inside, scene)[: inside[0].numel() * 9].view(*inside[0].shape, 9)

    padded, alone = assigned(96), assigned(64)
    assert (alone >= 0).sum() == 1 and torch.equal(padded[:4, :4], alone)
    padded[:4, :4] = -2
    assert (padded == -2).all()


@torch.no_grad()
def test_an_image_without_objects_teaches_background():
    """Its proposal network counts one positive anchor that it does not have, as mmdetection does."""
    head, (maps, inside) = small(), view()
    (samples,) = head(maps, inside, [NO_OBJECTS])
    logits = torch.cat(head.answers(maps)[0], 1)[0]
    chosen = head.sample_anchors(torch.full((len(logits),), -1), NO_OBJECTS)
    entropy, count = samples.losses["loss_rpn_class"]
    assert entropy.item() == pytest.approx(F.softplus(logits[chosen]).sum().item(), rel=1e-5)
    assert count == 40 + 1 and len(chosen) == 40
    assert samples.losses["loss_rpn_box"][0] == samples.losses["loss_rcnn_box"][0] == 0
    assert len(samples.boxes) == samples.losses["loss_rcnn_class"][1] == 12
    assert (samples.objects == -1).all()


@torch.no_grad()
def test_true_boxes_are_regions_too():
    head, (maps, inside) = small(), view()
    (samples,) = head(maps, inside, [ONE])
    assert samples.objects[0] == 0 and torch.equal(samples.boxes[0], ONE.boxes[0])
    assert (samples.objects >= 0).sum() <= 3 and len(samples.boxes) == 12  # a quarter of them at most


@torch.no_grad()
def test_anchors_cost_by_their_objects():
    """Cross-entropy of every sampled anchor; the distance in deltas of those with an object."""
    head, (maps, inside) = small(), view()
    logits, deltas, anchors = head.answers(maps)
    logits, deltas, anchors = torch.cat(logits, 1)[0], torch.cat(deltas, 1)[0], torch.cat(anchors)
    objects = head.assigned(anchors, inside, ONE)
    chosen = head.sample_anchors(objects, ONE)
    entropy = distance = 0.0
    for i in chosen.tolist():
        entropy += F.softplus(-logits[i] if objects[i] >= 0 else logits[i]).item()
        if objects[i] >= 0:
            x0, y0, x1, y1 = anchors[i].tolist()
            w, h = x1 - x0, y1 - y0
            wanted = [
                (24 - (x0 + x1) / 2) / w,
                (24 - (y0 + y1) / 2) / h,
                *torch.tensor([32 / w, 32 / h]).log().tolist(),
            ]
            distance += sum(abs(a - b) for a, b in zip(deltas[i].tolist(), wanted, strict=True))
    losses = head(maps, inside, [ONE])[0].losses
    assert (objects[chosen] >= 0).any() and (objects[chosen] > -2).all()
    assert [x.item() for x in losses["loss_rpn_class"]] == pytest.approx([entropy, 40], rel=1e-4)
    assert [x.item() for x in losses["loss_rpn_box"]] == pytest.approx([distance, 40], rel=1e-4)
