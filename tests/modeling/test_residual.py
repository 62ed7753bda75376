"""A convolution with its batch norm folded: its gradients, and what is kept for them."""

import pytest
import torch
from detectron2.layers import Conv2d, FrozenBatchNorm2d
from torch import nn

from dab_detr.modeling.residual import convolve


def convolution(norm: type, **options) -> Conv2d:
    """In float64, with statistics and an affine part that are not the identity."""
    conv = Conv2d(4, 6, 3, bias=False, norm=norm(6), **options).double().eval()
    for tensor in (conv.norm.weight, conv.norm.bias, conv.norm.running_mean, conv.norm.running_var):
        tensor.data.uniform_(0.5, 1.5)
    return conv


def gradients(conv: Conv2d, x: torch.Tensor, function) -> list[torch.Tensor]:
    wanted = [x, *conv.parameters()]
    return torch.autograd.grad(function(conv, x).square().sum(), [t for t in wanted if t.requires_grad])


@pytest.mark.parametrize("options", [{}, {"stride": 2, "padding": 1}, {"dilation": 2, "groups": 2}], ids=str)
@pytest.mark.parametrize("norm", [FrozenBatchNorm2d, nn.BatchNorm2d])
@pytest.mark.parametrize("learned", ["both", "weight", "input"])
def test_gradients_are_those_of_the_plain_form(norm, learned, options):
    conv = convolution(norm, **options)
    conv.weight.requires_grad_(learned != "input")
    x = torch.randn(2, 4, 9, 11, dtype=torch.float64, requires_grad=learned != "weight")
    expected = gradients(conv, x, lambda conv, x: conv(x).relu())
    found = gradients(conv, x, convolve)
    assert len(found) == len(expected)
    for ours, plain in zip(found, expected, strict=True):
        assert (ours - plain).norm() < 1e-12 * plain.norm()


def test_no_copy_of_the_weight_is_kept_for_the_gradient():
    conv, kept = convolution(FrozenBatchNorm2d), []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        convolve(conv, torch.randn(1, 4, 8, 8, dtype=torch.float64, requires_grad=True))
    weights = [tensor for tensor in kept if tensor.shape == conv.weight.shape]
    assert [tensor.data_ptr() for tensor in weights] == [conv.weight.data_ptr()]
