"""The blocks of a ResNet, in fewer passes over memory.

They are Detectron2's blocks, with the same parameters and names. Detectron2 convolves, multiplies by the batch norm's
scale and adds its shift. These are three passes over the largest tensors of the detector, and it keeps two of them for
the gradient.
"""

from typing import Any

import torch
import torch.nn.functional as F
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from .onednn import OneDNNConv2d


class FoldedStem(BasicStem):
    """Detectron2's stem: a convolution of stride 2 and max-pooling."""

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool2d(convolve(self.conv1, x), kernel_size=3, stride=2, padding=1)


class FoldedBasicBlock(BasicBlock):
    """Detectron2's block of two convolutions."""

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else convolve(self.shortcut, x, relu=False)
        return convolve(self.conv2, convolve(self.conv1, x), add=shortcut)


class FoldedBottleneckBlock(BottleneckBlock):
    """Detectron2's bottleneck of three convolutions."""

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.shortcut is None else convolve(self.shortcut, x, relu=False)
        return convolve(self.conv3, convolve(self.conv2, convolve(self.conv1, x)), add=shortcut)


def convolve(conv: nn.Conv2d, x: Tensor, *, add: Tensor | None = None, relu: bool = True) -> Tensor:
    """The convolution `conv` of x with its norm, plus `add`, clipped at zero if `relu`."""
    if isinstance(conv, OneDNNConv2d):
        return conv(x, add=add, relu=relu)
    x = convolve_folded(conv, x) if can_fold(conv) else conv(x)
    if add is not None:
        x = x + add
    return F.relu_(x) if relu else x


def convolve_folded(conv: nn.Conv2d, x: Tensor) -> Tensor:
    """The convolution `conv` of x and its norm, in one pass."""
    options = conv.stride, conv.padding, conv.dilation, conv.groups
    scale, shift = scale_and_shift(conv.norm)
    if torch.is_grad_enabled() and conv.weight.requires_grad and not needs_autograd(x, scale, shift):
        return ScaledConvolution.apply(x, conv.weight, scale, shift, options)
    return F.conv2d(x, conv.weight * scale, shift, *options)


def needs_autograd(x: Tensor, scale: Tensor, shift: Tensor) -> bool:
    """Whether autograd must compute the gradient: under a compiler, under autocast, or if the batch norm learns."""
    autocast = torch.amp.is_autocast_available(x.device.type) and torch.is_autocast_enabled(x.device.type)
    return torch.compiler.is_compiling() or autocast or scale.requires_grad or shift.requires_grad


class ScaledConvolution(torch.autograd.Function):
    """Convolution by `weight` times a fixed `scale`. The backward pass computes this product again.

    Autograd would keep the product, which is one more copy of all the backbone's weights.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, scale: Tensor, shift: Tensor, options: tuple) -> Tensor:
        ctx.save_for_backward(x, weight, scale)
        ctx.options = options
        return F.conv2d(x, weight * scale, shift, *options)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of x and weight."""
        x, weight, scale = ctx.saved_tensors
        needs_x, needs_weight, *_ = ctx.needs_input_grad
        stride, padding, dilation, groups = ctx.options
        of_x, of_weight, _ = torch.ops.aten.convolution_backward(
            gradient,
            x,
            weight * scale,
            bias_sizes=None,
            stride=stride,
            padding=padding,
            dilation=dilation,
            transposed=False,
            output_padding=(0, 0),
            groups=groups,
            output_mask=(needs_x, needs_weight, False),
        )
        return of_x, of_weight * scale if needs_weight else None, None, None, None


def can_fold(conv: nn.Conv2d) -> bool:
    """Whether Detectron2's convolution `conv` only adds a fixed scale and shift to a convolution."""
    norm = getattr(conv, "norm", None)
    fixed = isinstance(norm, FrozenBatchNorm2d) or (isinstance(norm, nn.BatchNorm2d) and not norm.training)
    return fixed and conv.bias is None and conv.activation is None


def folded(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of the one convolution that equals `conv`, which has no bias, and its norm."""
    scale, shift = scale_and_shift(conv.norm)
    return conv.weight * scale, shift


def scale_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """The factor (C, 1, 1, 1) and the summand (C,) of a batch norm with fixed statistics."""
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return scale[:, None, None, None], norm.bias - norm.running_mean * scale
