"""The blocks of a ResNet, computed in as few passes over memory as there are kernels for.

They are Detectron2's blocks, with its parameters under its names. Detectron2 convolves, multiplies by the batch norm's
scale and adds its shift: three passes over the largest tensors of the detector, two of which it keeps for the gradient.
"""

import torch.nn.functional as F
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock
from torch import Tensor, nn

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
    """The convolution `conv` of x with its norm, plus `add`, clipped at zero where `relu`."""
    if isinstance(conv, OneDNNConv2d):
        return conv(x, add=add, relu=relu)
    shape = (conv.stride, conv.padding, conv.dilation, conv.groups)
    x = F.conv2d(x, *folded(conv), *shape) if can_fold(conv) else conv(x)
    if add is not None:
        x = x + add
    return F.relu_(x) if relu else x


def can_fold(conv: nn.Conv2d) -> bool:
    """Whether what Detectron2's convolution `conv` does beside convolving is a fixed scale and shift."""
    norm = getattr(conv, "norm", None)
    fixed = isinstance(norm, FrozenBatchNorm2d) or (isinstance(norm, nn.BatchNorm2d) and not norm.training)
    return fixed and conv.bias is None and conv.activation is None


def folded(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that computes what `conv`, which has no bias, and its norm do.

    In training too: the gradient reaches the weight through its scale.
    """
    norm = conv.norm
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    return conv.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale
