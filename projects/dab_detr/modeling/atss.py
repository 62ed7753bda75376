"""The ATSS head: one anchor for each cell, as an auxiliary head of collaborative training."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import sigmoid_focal_loss

from .anchors import anchor_grid, assign_atss, decode_deltas
from .boxes import full_precision, generalized_iou
from .structures import Samples, Scene

DEVIATIONS = (0.1, 0.1, 0.2, 0.2)  # the units of the deltas that the head predicts


class ATSSHead(nn.Module):
    """Classes, a box and a centerness for each cell, learned from the anchors that ATSS gives to each object.

    dim: channels of the maps. strides: the strides of all maps. anchor_size: side of the anchors, in strides. topk:
    candidates of each level, see `assign_atss`.
    """

    name, shared_by = "atss", "objects"

    def __init__(self, *, dim: int, num_classes: int, strides: Sequence[int], anchor_size: float = 8.0, topk: int = 9):
        super().__init__()
        self.num_classes, self.topk, self.num_maps = num_classes, topk, len(strides)
        self.anchors = anchor_grid([[anchor_size * stride] for stride in strides], [1.0], strides)
        self.class_tower, self.box_tower = (
            nn.Sequential(
                nn.Conv2d(dim, dim, 3, padding=1, bias=False), nn.GroupNorm(min(32, dim // 4), dim), nn.ReLU()
            )
            for _ in range(2)
        )
        self.classes, self.boxes, self.centerness = (
            nn.Conv2d(dim, channels, 3, padding=1) for channels in (num_classes, 4, 1)
        )
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias) if module.bias is not None else None
        nn.init.constant_(self.classes.bias, -math.log(99))
        self.scales = nn.ParameterList(nn.Parameter(torch.tensor(1.0)) for _ in strides)

    def forward(self, maps: Sequence[Tensor], inside: Sequence[Tensor], scenes: Sequence[Scene]) -> list[Samples]:
        """Compute the losses and samples of G images whose maps have one size.

        maps: (G, C, h, w) of each level. inside: for each map (G, h, w) bool, True where a cell is image.
        """
        answers = [full_precision(torch.cat(x, 1)) for x in zip(*self.answers(maps), strict=True)]
        features = torch.cat([by_cell(x) for x in maps], 1)
        anchors = torch.cat([x.tensor for x in self.anchors(maps)])
        return [
            self.samples(*(x[i] for x in answers), features[i], anchors, [x[i] for x in inside], scene)
            for i, scene in enumerate(scenes)
        ]

    def samples(
        self,
        logits: Tensor,
        deltas: Tensor,
        centerness: Tensor,
        features: Tensor,
        anchors: Tensor,
        inside: Sequence[Tensor],
        scene: Scene,
    ) -> Samples:
        """The losses and samples of one image from the answers (A, ...), features (A, C) and anchors (A, 4)."""
        anchors = anchors.to(scene.boxes)
        valid = torch.cat([x.flatten() for x in inside])
        objects = torch.full_like(valid, -1, dtype=torch.long)
        objects[valid] = assign_atss(anchors[valid], [int(x.sum()) for x in inside], scene.boxes, self.topk)
        positive = objects >= 0
        own, target = anchors[positive], scene.boxes[objects[positive]]
        boxes = decode_deltas(deltas[positive] * deltas.new_tensor(DEVIATIONS), own)
        wanted = centerness_of((own[:, :2] + own[:, 2:]) / 2, target)
        labels = F.one_hot(scene.labels[objects[positive]], self.num_classes)
        classes = torch.zeros_like(logits).index_put((positive.nonzero()[:, 0],), labels.to(logits))
        focal = sigmoid_focal_loss(logits[valid], classes[valid], alpha=0.25, gamma=2.0, reduction="sum")
        distance = ((1 - generalized_iou(boxes, target, eps=1e-6)) * wanted).sum()
        entropy = F.binary_cross_entropy_with_logits(centerness[positive, 0], wanted, reduction="sum")
        count = positive.sum().clamp(min=1)
        return Samples(
            losses={
                "loss_atss_class": (focal, count),
                "loss_atss_box": (2 * distance, wanted.sum()),
                "loss_atss_centerness": (entropy, count),
            },
            boxes=anchors.masked_fill(~valid[:, None], 0.0),
            objects=objects,
            features=features,
        )

    def answers(self, maps: Sequence[Tensor]) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Class logits (G, h * w, K), deltas (G, h * w, 4) and centerness (G, h * w, 1) of each map."""
        answers = []
        for x, scale in zip(maps, self.scales, strict=True):
            by_class, by_box = self.class_tower(x), self.box_tower(x)
            outputs = self.classes(by_class), self.boxes(by_box) * scale, self.centerness(by_box)
            answers.append(tuple(by_cell(output) for output in outputs))
        return answers


def by_cell(x: Tensor) -> Tensor:
    """Turn a map (G, C, h, w) into rows (G, h * w, C)."""
    return x.flatten(2).mT


def centerness_of(points: Tensor, boxes: Tensor) -> Tensor:
    """Centerness (P,) of points (P, 2) inside boxes (P, 4): 1 at the center of a box, 0 at its border."""
    before, after = points - boxes[:, :2], boxes[:, 2:] - points
    return (torch.minimum(before, after) / torch.maximum(before, after)).prod(1).sqrt()
