"""Bipartite matching of queries and objects."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torchvision.ops import box_convert

from ..modeling.boxes import full_precision, generalized_iou
from ..modeling.structures import Matches, Prediction, Target
from .classification import FocalLoss, SoftmaxLoss

REFUSED = 1e6  # cost of a pair with a non-finite cost; finite ones stay below 100


class HungarianMatcher:
    """The minimum-cost assignment of queries to objects, separately for every layer and image.

    A pair costs cost_class * classification cost + cost_bbox * L1 of cxcywh - cost_giou * GIoU. If an image has
    more objects than queries, the objects with the lowest cost are matched.
    """

    def __init__(
        self,
        *,
        classification: FocalLoss | SoftmaxLoss,
        cost_class: float = 2.0,
        cost_bbox: float = 5.0,
        cost_giou: float = 2.0,
        eps: float = 1e-6,
    ):
        self.classification, self.eps = classification, eps
        self.cost_class, self.cost_bbox, self.cost_giou = cost_class, cost_bbox, cost_giou

    @torch.no_grad()
    def __call__(self, prediction: Prediction, targets: Sequence[Target]) -> Matches:
        """Match every layer and image. All costs are computed in one batch and reach the CPU in one transfer."""
        counts = [len(target.labels) for target in targets]
        offsets = [0, *accumulate(counts)]
        cost = self.cost(prediction, targets).cpu().numpy()
        # scipy refuses the NaN of a diverged model; matching continues, and the loss shows the NaN
        cost = np.nan_to_num(cost, nan=REFUSED, posinf=REFUSED, neginf=REFUSED)
        pairs = [
            np.stack(
                [
                    np.full_like(query, layer),
                    np.full_like(query, image),
                    query,
                    match + offsets[image],
                ]
            )
            for layer in range(cost.shape[0])
            for image, count in enumerate(counts)
            for query, match in [assign(cost[layer, image, :, :count])]
        ]
        pairs = torch.as_tensor(np.concatenate(pairs, 1)).to(prediction.logits.device, non_blocking=True)
        layer, image, query, match = pairs
        return Matches(query=(layer, image, query), object=match)

    def cost(self, prediction: Prediction, targets: Sequence[Target]) -> Tensor:
        """Costs (L, B, Q, N), where N is the largest number of objects in an image. Columns beyond an image's objects
        are unused."""
        labels = pad_sequence([target.labels for target in targets], batch_first=True)
        target_boxes = pad_sequence([target.boxes for target in targets], batch_first=True)[None]
        boxes = full_precision(prediction.boxes)
        distance = torch.cdist(boxes, target_boxes.to(boxes.dtype), p=1)
        overlap = generalized_iou(
            box_convert(boxes, "cxcywh", "xyxy")[..., :, None, :],
            box_convert(target_boxes, "cxcywh", "xyxy")[..., None, :, :],
            self.eps,
        )
        classes = self.classification.cost(full_precision(prediction.logits), labels)
        return self.cost_bbox * distance + self.cost_class * classes - self.cost_giou * overlap


def assign(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rows and columns of a cost matrix that together cost least."""
    from scipy.optimize import linear_sum_assignment  # slow to import, and inference does not need it

    return linear_sum_assignment(cost)
