"""Layers that call oneDNN's kernels, for inference on CPU; torch calls these kernels only in graphs that it compiled.

A convolution adds and clips in the same pass over memory. A matrix product in fp32 is twice as fast on AMD as MKL's,
which `torch.nn.functional.linear` calls. The kernels have no gradient, and their ReLU turns NaN into zero.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def can_run(x: Tensor) -> bool:
    """Whether oneDNN has kernels for the device and type of `x` on this machine."""
    if x.device.type != "cpu" or not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):
        return False
    return x.dtype == torch.float or (x.dtype == torch.bfloat16 and torch.ops.mkldnn._is_mkldnn_bf16_supported())


def is_captured() -> bool:
    """Whether a tracer, an exporter or a compiler is recording: it cannot record these kernels or chooses its own."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


class OneDNNConv2d(nn.Conv2d):
    """A convolution with bias, in the type of its weight. It is torch's own under autocast to another type, and in a
    captured graph."""

    def forward(self, x: Tensor, *, add: Tensor | None = None, relu: bool = False) -> Tensor:
        """The convolution of x, plus `add`, clipped at zero if `relu`."""
        autocast = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") != self.weight.dtype
        if autocast or is_captured():
            x = x if autocast else x.to(self.weight.dtype)
            x = super().forward(x) if add is None else super().forward(x) + add
            return x.relu_() if relu else x
        x = x.to(self.weight.dtype, memory_format=torch.channels_last)
        weights = (self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups)
        if add is None:
            return torch.ops.mkldnn._convolution_pointwise(x, *weights, "relu" if relu else "none", [], "")
        add = add.to(x.dtype, memory_format=torch.channels_last)  # in 16 bits the kernel accepts no other layout
        return torch.ops.mkldnn._convolution_pointwise.binary(
            x, add, *weights, "add", 1.0, "relu" if relu else None, [], ""
        )


class OneDNNLinear(nn.Linear):
    """A linear layer. It is torch's own in a captured graph, and under autocast, which calls oneDNN in 16 bits."""

    def forward(self, x: Tensor) -> Tensor:
        if x.dtype != self.weight.dtype or torch.is_autocast_enabled("cpu") or is_captured():
            return F.linear(x, self.weight, self.bias)
        return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, "none", [], "")
