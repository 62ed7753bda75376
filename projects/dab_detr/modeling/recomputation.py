"""Activation checkpointing: activations of chosen parts are not kept for the gradient but computed again."""

from collections.abc import Callable, Iterable
from functools import partial

import torch
from detectron2.modeling.backbone.resnet import CNNBlockBase
from torch import nn
from torch.utils.checkpoint import checkpoint


def recompute(model: nn.Module, parts: Iterable[str]) -> None:
    """Makes each layer of the parts ("backbone", "encoder", "decoder") keep nothing but what it is given.

    Training takes less memory and about a third more time for them; outputs and gradients stay the same. Raises
    ValueError for a part that has no such layers.
    """
    for part in parts:
        layers = layers_of(model, part)
        if not layers:
            raise ValueError(
                f"model.activation_checkpointing has {part!r}, where it may have 'backbone' (if that is a ResNet of "
                "Detectron2's), 'encoder' and 'decoder'"
            )
        for layer in layers:
            layer.forward = partial(recomputed, layer.forward)


def layers_of(model: nn.Module, part: str) -> list[nn.Module]:
    if part == "backbone":
        return [module for module in model.backbone.modules() if isinstance(module, CNNBlockBase)]
    return list(getattr(model, part).layers) if part in ("encoder", "decoder") else []


def recomputed(forward: Callable, *inputs):
    if not torch.is_grad_enabled():
        return forward(*inputs)
    return checkpoint(forward, *inputs, use_reentrant=False)
