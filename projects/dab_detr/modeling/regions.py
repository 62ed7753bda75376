"""The heads of Faster R-CNN, from Detectron2's parts, as an auxiliary head of collaborative training."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.layers import ShapeSpec
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator.proposal_utils import find_top_rpn_proposals
from detectron2.modeling.proposal_generator.rpn import StandardRPNHead
from detectron2.modeling.roi_heads.box_head import FastRCNNConvFCHead
from detectron2.modeling.roi_heads.fast_rcnn import FastRCNNOutputLayers
from detectron2.structures import Boxes
from torch import Tensor, nn

from .anchors import anchor_grid, assign_max_iou, decode_deltas, encode_deltas, sample
from .boxes import full_precision, generalized_iou
from .structures import Samples, Scene

WEIGHTS = (10.0, 10.0, 5.0, 5.0)  # the weights of a region's deltas


class RegionHead(nn.Module):
    """A region proposal network on all maps, and a box head for regions on all but the last: Faster R-CNN.

    dim: channels of the maps. strides: the strides of all maps. hidden: channels of the box head's two layers.
    anchor_size: side of the smallest anchors, in strides; two more are 2^(1/3) and 2^(2/3) times as large.
    num_anchors, num_regions: sampled for each image; at most a half and a quarter of them have an object.
    proposals: how many of a level's best enter non-maximum suppression, and how many of an image's best remain.
    region_size: side of a region in pixels that is pooled from the map of stride 16.
    """

    name, shared_by = "rcnn", "images"

    def __init__(
        self,
        *,
        dim: int,
        num_classes: int,
        strides: Sequence[int],
        hidden: int = 1024,
        anchor_size: float = 4.0,
        num_anchors: int = 256,
        num_regions: int = 512,
        proposals: Sequence[int] = (4000, 1000),
        region_size: int = 224,
    ):
        super().__init__()
        self.num_classes, self.num_maps = num_classes, len(strides)
        self.num_anchors, self.num_regions, self.proposals = num_anchors, num_regions, proposals
        sizes = [[anchor_size * stride * 2 ** (i / 3) for i in range(3)] for stride in strides]
        self.anchors = anchor_grid(sizes, (0.5, 1.0, 2.0), strides)
        self.rpn = StandardRPNHead(in_channels=dim, num_anchors=9)
        self.pooler = ROIPooler(7, [1 / stride for stride in strides[:-1]], 0, "ROIAlignV2", region_size)
        region = ShapeSpec(channels=dim, height=7, width=7)
        self.box_head = FastRCNNConvFCHead(region, conv_dims=[], fc_dims=[hidden] * 2)
        self.predictor = FastRCNNOutputLayers(
            ShapeSpec(channels=hidden), box2box_transform=Box2BoxTransform(WEIGHTS), num_classes=num_classes
        )

    def forward(self, maps: Sequence[Tensor], inside: Sequence[Tensor], scenes: Sequence[Scene]) -> list[Samples]:
        """Compute the losses and samples of G images whose maps have one size.

        maps: (G, C, h, w) of each level. inside: for each map (G, h, w) bool, True where a cell is image.
        """
        logits, deltas, anchors = self.answers(maps)
        proposals = self.propose(logits, deltas, anchors, scenes)
        logits, deltas, anchors = torch.cat(logits, 1), torch.cat(deltas, 1), torch.cat(anchors)
        losses, regions, objects = [], [], []
        for i, scene in enumerate(scenes):
            near = self.assigned(anchors, [x[i] for x in inside], scene)
            losses.append(self.anchor_losses(logits[i], deltas[i], anchors, near, scene))
            candidates = torch.cat([scene.boxes, proposals[i]])
            near = assign_max_iou(candidates, scene.boxes, 0.5, 0.5)
            chosen = self.sample_regions(near, scene)
            regions.append(candidates[chosen])
            objects.append(near[chosen])
        pooled = self.pooler([full_precision(x) for x in maps[:-1]], [Boxes(x) for x in regions])
        numbers = [len(x) for x in regions]
        answers = [full_precision(x).split(numbers) for x in self.predictor(self.box_head(pooled))]
        for own, *answer in zip(losses, *answers, regions, objects, scenes, strict=True):
            own.update(self.region_losses(*answer))
        features = pooled.mean((2, 3)).split(numbers)
        return [Samples(*each) for each in zip(losses, regions, objects, features, strict=True)]

    def answers(self, maps: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
        """Logits (G, A), deltas (G, A, 4) and anchors (A, 4) of each map."""
        logits, deltas = ([full_precision(x) for x in answers] for answers in self.rpn(list(maps)))
        return (
            [x.permute(0, 2, 3, 1).flatten(1) for x in logits],
            [x.unflatten(1, (9, 4)).permute(0, 3, 4, 1, 2).flatten(1, 3) for x in deltas],
            [x.tensor.to(logits[0]) for x in self.anchors(maps)],
        )

    def assigned(self, anchors: Tensor, inside: Sequence[Tensor], scene: Scene) -> Tensor:
        """(A,) the object of each anchor (A, 4), numbered as in `assign_max_iou`; -2 outside the image."""
        valid = torch.cat([x.flatten() for x in inside]).repeat_interleave(9)
        objects = torch.full_like(valid, -2, dtype=torch.long)
        objects[valid] = assign_max_iou(anchors[valid], scene.boxes, 0.3, 0.7, best_from=0.3)
        return objects

    def sample_anchors(self, objects: Tensor, scene: Scene) -> Tensor:
        """Indices of the anchors to learn from, by the image's seed."""
        return sample(objects, self.num_anchors, 0.5, scene.generator())

    def sample_regions(self, objects: Tensor, scene: Scene) -> Tensor:
        """Indices of the regions to learn from, by the image's seed."""
        return sample(objects, self.num_regions, 0.25, scene.generator())

    def anchor_losses(
        self, logits: Tensor, deltas: Tensor, anchors: Tensor, objects: Tensor, scene: Scene
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """The proposal network's losses from logits (A,) and deltas (A, 4) of all anchors (A, 4) and their objects."""
        chosen = self.sample_anchors(objects, scene)
        objects, positive = objects[chosen], chosen[objects[chosen] >= 0]
        target = encode_deltas(anchors[positive], scene.boxes[objects[objects >= 0]])
        entropy = F.binary_cross_entropy_with_logits(logits[chosen], (objects >= 0).to(logits), reduction="sum")
        distance = (deltas[positive] - target).abs().sum()
        # mmdetection's count: at least one positive and one negative anchor
        count = entropy.new_tensor(max(len(positive), 1) + max(len(chosen) - len(positive), 1))
        return {"loss_rpn_class": (entropy, count), "loss_rpn_box": (distance, count)}

    @torch.no_grad()
    def propose(
        self, logits: Sequence[Tensor], deltas: Sequence[Tensor], anchors: Sequence[Tensor], scenes: Sequence[Scene]
    ) -> list[Tensor]:
        """The best proposals (R, 4) of each image, clipped to it, from each level's `answers`."""
        # Detectron2's proposals are in single precision
        boxes = [decode_deltas(x, y).float() for x, y in zip(deltas, anchors, strict=True)]
        scores = [x.float() for x in logits]
        sizes = [scene.size for scene in scenes]
        best = find_top_rpn_proposals(boxes, scores, sizes, 0.7, *self.proposals, 0.0, False)
        return [x.proposal_boxes.tensor.to(scene.boxes) for x, scene in zip(best, scenes, strict=True)]

    def region_losses(
        self, scores: Tensor, deltas: Tensor, regions: Tensor, objects: Tensor, scene: Scene
    ) -> dict[str, tuple[Tensor, Tensor]]:
        """The box head's losses from its scores (R, K + 1) and deltas (R, 4 * K) of regions (R, 4)."""
        positive = objects >= 0
        labels, target = scene.labels[objects[positive]], scene.boxes[objects[positive]]
        deltas = deltas.unflatten(1, (-1, 4))[positive].take_along_dim(labels[:, None, None], 1)[:, 0]
        boxes = decode_deltas(deltas / deltas.new_tensor(WEIGHTS), regions[positive])
        classes = torch.full_like(objects, self.num_classes).masked_scatter(positive, labels)
        entropy = F.cross_entropy(scores, classes, reduction="sum")
        distance = (1 - generalized_iou(boxes, target, eps=1e-6)).sum()
        count = entropy.new_tensor(len(regions))
        return {"loss_rcnn_class": (entropy, count), "loss_rcnn_box": (10 * distance, count)}
