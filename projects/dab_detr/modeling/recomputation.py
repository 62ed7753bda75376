"""Activation checkpointing: the backward pass computes activations of chosen parts again instead of keeping them."""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from detectron2.modeling.backbone.resnet import CNNBlockBase
from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute(model: nn.Module, parts: Iterable[str]) -> None:
    """Checkpoint every layer of the given parts ("backbone", "encoder", "decoder"): only its inputs are kept for the
    backward pass.

    Training of these parts takes less memory and about a third more time. Outputs and gradients stay the same. Raises
    ValueError for a part without such layers.
    """
    for part in parts:
        layers = layers_of(model, part)
        if not layers:
            raise ValueError(
                f"model.activation_checkpointing may have 'backbone' (if that is a ResNet of Detectron2's), 'encoder' "
                f"and 'decoder', got {part!r}"
            )
        for layer in layers:
            layer.forward = partial(recomputed, layer.forward)


def layers_of(model: nn.Module, part: str) -> list[nn.Module]:
    """The layers of a part; an empty list if it has none that can be checkpointed."""
    if part == "backbone":
        return [module for module in model.backbone.modules() if isinstance(module, CNNBlockBase)]
    return list(getattr(model, part).layers) if part in ("encoder", "decoder") else []


def recomputed(forward: Callable, *inputs):
    """Call `forward` and keep only its inputs for the backward pass."""
    if not torch.is_grad_enabled():
        return forward(*inputs)
    return checkpoint(forward, *inputs, use_reentrant=False)
