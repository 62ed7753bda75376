"""Prediction heads: the class head and the box head, each as one layer's or shared by all."""

import math

import torch
from torch import Tensor, nn

from .boxes import full_precision
from .layers import MLP
from .part import Part


class InFullPrecision:
    """For heads: what they answer is final, they are little, and in 16 bits they cost accuracy."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.amp.is_autocast_available(x.device.type):  # meta tensors have none
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(full_precision(x))


class ClassHead(Part, InFullPrecision, nn.Linear):
    """Content (..., dim) to class logits (..., num_classes).

    It starts out giving every class the probability `prior`, so that the many queries without an object do not
    drown the first steps of the focal loss.
    """

    no_object_class = False

    def __init__(self, *, dim: int, num_classes: int, prior: float = 0.01):
        super().__init__(dim, num_classes)
        nn.init.constant_(self.bias, -math.log((1 - prior) / prior))


class SoftmaxClassHead(Part, InFullPrecision, nn.Linear):
    """Content (..., dim) to class logits (..., num_classes + 1), the last one for "no object"."""

    no_object_class = True

    def __init__(self, *, dim: int, num_classes: int):
        super().__init__(dim, num_classes + 1)


class PlainBoxHead(InFullPrecision, MLP):
    """Content (..., dim) to the logits (..., 4) of a box, from PyTorch's initial weights: DETR's, without anchors."""

    def __init__(self, *, dim: int):
        super().__init__(dim, dim, dim, 4)


class BoxHead(InFullPrecision, MLP):
    """Content (..., dim) to (..., 4): by how much to move the anchor, in logit space; at the start not at all.

    size_bias: what width and height start from, where the anchor has none: -2 is an eighth of the image.
    """

    def __init__(self, *, dim: int, size_bias: float = 0.0):
        super().__init__(dim, dim, dim, 4)
        nn.init.zeros_(self[-1].weight)
        nn.init.zeros_(self[-1].bias)
        nn.init.constant_(self[-1].bias[2:], size_bias)
