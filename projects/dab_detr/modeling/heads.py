"""Prediction heads for classes and boxes; a head belongs to one decoder layer, or all layers share it."""

import math

import torch
from torch import Tensor, nn

from .boxes import full_precision
from .layers import MLP
from .part import Part


class InFullPrecision:
    """Runs a head in fp32 even under autocast: heads are cheap, their output is final, and 16 bits cost accuracy."""

    def forward(self, x: Tensor) -> Tensor:
        if not torch.amp.is_autocast_available(x.device.type):  # meta tensors have no autocast
            return super().forward(x)
        with torch.autocast(x.device.type, enabled=False):
            return super().forward(full_precision(x))


class ClassHead(Part, InFullPrecision, nn.Linear):
    """Content (..., dim) to class logits (..., num_classes).

    At the start every class has the probability `prior`, so that the many queries without an object do not dominate
    the first steps of the focal loss.
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
    """DETR's box head, without anchors: content (..., dim) to the logits (..., 4) of a box. It keeps PyTorch's
    initial weights."""

    def __init__(self, *, dim: int):
        super().__init__(dim, dim, dim, 4)


class BoxHead(InFullPrecision, MLP):
    """Content (..., dim) to the offset (..., 4) of the anchor, in logit space. At the start the offset is zero.

    size_bias: initial logit of width and height for anchors without a size; -2 is an eighth of the image.
    """

    def __init__(self, *, dim: int, size_bias: float = 0.0):
        super().__init__(dim, dim, dim, 4)
        nn.init.zeros_(self[-1].weight)
        nn.init.zeros_(self[-1].bias)
        nn.init.constant_(self[-1].bias[2:], size_bias)
