"""Deformable sampling alone, as the first layers of the encoder and of the decoder call it."""

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn

from dab_detr.detector import DABDETR
from dab_detr.modeling.bag_sampling import sample_from_bags
from dab_detr.modeling.deformable import DeformableAttention, deformable_sample, has_triton, sample_from_grids

from .measure import Forms
from .subjects import inputs_for


def sampling(model: DABDETR, args: argparse.Namespace) -> Forms:
    """Every form that runs on this device, without and with a gradient.

    Raises ValueError for a model without deformable attention.
    """
    samplers = {"grid_sample": sample_from_grids}
    if args.device == "cpu":
        samplers["bags"] = sample_from_bags
    elif has_triton():
        from dab_detr.modeling.triton_sampling import sample_by_kernel

        samplers["Triton kernel"] = sample_by_kernel
    forms = {}
    for part, given in arguments_of(attentions(model), lambda: model.eval()(inputs_for(model, args))).items():
        for name, sample in samplers.items():
            forms[f"{part}, {name}"] = torch.no_grad()(lambda f=sample, x=given: f(*x))
        for name, sample in samplers.items():
            forms[f"{part}, {name}, with gradients"] = lambda f=sample, x=given: gradients(f, *x)
    return forms


def attentions(model: DABDETR) -> dict[str, DeformableAttention]:
    """The first deformable attention of the encoder and of the decoder."""
    found = {}
    for name in ("encoder", "decoder"):
        modules = (x for x in getattr(model, name).modules() if isinstance(x, DeformableAttention))
        first = next(modules, None)
        if first is None:
            raise ValueError("sampling needs --config-file of a deformable model")
        found[name] = first
    return found


@torch.no_grad()
def arguments_of(attentions: dict[str, DeformableAttention], forward: Callable) -> dict[str, tuple]:
    """The arguments of `deformable_sample` when each of the attentions calls it."""
    seen = {}
    for name, attention in attentions.items():
        attention.sample = lambda *given, name=name: seen.update({name: given}) or deformable_sample(*given)
    forward()
    for attention in attentions.values():
        del attention.sample
    return seen


def gradients(sample: Callable, value: Tensor, shapes: tuple, points: Tensor, weights: Tensor) -> tuple[Tensor, ...]:
    """The gradients of values, points and weights."""
    given = [x.detach().requires_grad_() for x in (value, points, weights)]
    out = sample(given[0], shapes, *given[1:])
    return torch.autograd.grad(out, given, torch.ones_like(out))


def by_grids(model: nn.Module) -> bool:
    """Make all deformable attention of a model sample by `grid_sample`. Returns whether it has any."""
    found = [x for x in model.modules() if isinstance(x, DeformableAttention)]
    for attention in found:
        attention.sample = sample_from_grids
    return bool(found)
