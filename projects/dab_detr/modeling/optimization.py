"""A faster copy of a detector, for inference only."""

import copy

import torch
from torch import nn

from .heads import InFullPrecision
from .onednn import OneDNNConv2d, OneDNNLinear, can_run
from .precision import PRECISIONS
from .residual import can_fold, folded


@torch.no_grad()
def optimize_for_inference(model: nn.Module) -> nn.Module:
    """Copy the detector into a form that computes the same results, up to rounding, in less time.

    The convolutions take in the frozen batch norm after them, and are stored channels last. On CPU, oneDNN's kernels
    run convolutions and linear layers. With `model.precision="bf16"`, all weights except the heads' are stored in bf16.
    Auxiliary heads, which only training needs, are left out. The model and its checkpoints stay as they are. The copy
    cannot be trained, and later training of the model does not reach it. On CPU, an image that is not finite may go
    unnoticed.
    """
    training_only = getattr(model, "collaboration", None)
    model = copy.deepcopy(model, {id(training_only): None}).eval()  # None instead of a copy
    dtype = PRECISIONS[getattr(model, "precision", "fp32")]
    heads = {x for module in model.modules() if isinstance(module, InFullPrecision) for x in module.modules()}
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.Conv2d | nn.Linear) and not isinstance(child, InFullPrecision):
                setattr(parent, name, optimized(child, torch.float if child in heads else dtype))
    return model.requires_grad_(False).to(memory_format=torch.channels_last)


def optimized(layer: nn.Conv2d | nn.Linear, dtype: torch.dtype = torch.float) -> nn.Module:
    """The layer, its norm folded in, in `dtype`; it runs on oneDNN if this machine has the kernels."""
    dtype = layer.weight.dtype if dtype == torch.float else dtype
    fast = can_run(layer.weight.to(dtype))
    if isinstance(layer, nn.Linear):
        new = OneDNNLinear(layer.in_features, layer.out_features, device="meta") if fast else layer
        new.weight, new.bias = layer.weight, layer.bias
        return new.to(dtype)
    if not can_fold(layer) and (type(layer) is not nn.Conv2d or layer.bias is None):
        return layer.to(dtype)  # its norm depends on the image
    weight, bias = folded(layer) if can_fold(layer) else (layer.weight, layer.bias)
    shape = (layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    new = (OneDNNConv2d if fast else nn.Conv2d)(*shape, layer.groups, device="meta")
    new.weight, new.bias = nn.Parameter(weight), nn.Parameter(bias)
    return new.to(dtype)
