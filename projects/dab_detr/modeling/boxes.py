"""Arithmetic of boxes and anchors: pure functions over normalized coordinates."""

import torch
import torch.nn.functional as F
from torch import Tensor


def full_precision(x: Tensor) -> Tensor:
    """fp16 and bf16 as fp32, any other type unchanged. Divisions and inverses need full precision."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def inverse_sigmoid(x: Tensor, eps: float) -> Tensor:
    """The logit of x in [0, 1]. x and 1 - x are clamped to eps or more.

    The released DAB-DETR weights were trained with eps 1e-3 (logits up to 6.9); transformers uses 1e-5.
    """
    x = full_precision(x)
    return torch.log(x.clamp(eps, 1.0) / (1 - x).clamp(eps, 1.0))


def anchor_logits(anchors: Tensor, eps: float) -> Tensor:
    """Logits (..., 4) of anchors (..., D), D = 0, 2 or 4; zero in the columns that the anchors do not have."""
    if not anchors.shape[-1]:  # OpenVINO takes a tensor without columns for one with a column
        return full_precision(anchors).new_zeros(*anchors.shape[:-1], 4)
    return F.pad(inverse_sigmoid(anchors, eps), (0, 4 - anchors.shape[-1]))


def move_anchors(delta: Tensor, logits: Tensor) -> Tensor:
    """Boxes (..., 4) from the box head's output (..., 4) and the logits (..., 4) of its anchors."""
    return (full_precision(delta) + logits).sigmoid()


def areas_of(boxes: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Areas (...) of the intersection and of the union of xyxy boxes (..., 4) and (..., 4), broadcast."""
    area = (boxes[..., 2:] - boxes[..., :2]).prod(-1)
    other_area = (others[..., 2:] - others[..., :2]).prod(-1)
    overlap = torch.minimum(boxes[..., 2:], others[..., 2:]) - torch.maximum(boxes[..., :2], others[..., :2])
    intersection = overlap.clamp(min=0).prod(-1)
    return intersection, area + other_area - intersection


def iou(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU (...) of xyxy boxes (..., 4) and (..., 4), broadcast against each other; 0 where both are empty."""
    intersection, union = areas_of(boxes, others)
    return intersection / union.clamp(min=1e-12)


def generalized_iou(boxes: Tensor, others: Tensor, eps: float) -> Tensor:
    """GIoU of xyxy boxes (..., 4) and (..., 4), broadcast against each other; in [-1, 1].

    eps is added to the union and to the enclosing area: 1e-6 in DAB-DETR, 0 in DETR. The loss compares pairs of boxes,
    the matcher compares (..., Q, 1, 4) with (..., 1, N, 4).
    """
    intersection, union = areas_of(boxes, others)
    span = torch.maximum(boxes[..., 2:], others[..., 2:]) - torch.minimum(boxes[..., :2], others[..., :2])
    enclosing = span.prod(-1)
    return intersection / (union + eps) - (enclosing - union) / (enclosing + eps)
