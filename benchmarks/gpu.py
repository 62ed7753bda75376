"""Measurements that need a GPU: kernels, the gaps between them, and moments when the host waits for the device."""

import argparse
from collections.abc import Callable

import torch
from torch.profiler import ProfilerActivity

from dab_detr.detector import DABDETR, padding_of

from .measure import seconds
from .subjects import build, fast, inputs_for
from .tasks import predicting


def profile(args: argparse.Namespace) -> dict:
    """The share of kernels in the time of a forward pass, plain and optimized. Raises RuntimeError for host syncs."""
    model = build(args).eval()
    images = model.preprocess(inputs_for(model, args))
    forms = {}
    for name, part in (("dab_detr", model), ("dab_detr optimized", fast(model, args))):
        forward = predicting(forward_of(part, images.tensor, padding_of(images)), args)
        for _ in range(3):
            forward()
        without_syncs(forward)
        forms[name] = kernels(forward, args.device)
    return {"forms": forms}


def forward_of(model: DABDETR, pixels: torch.Tensor, padding: torch.Tensor) -> Callable:
    return lambda: model.detect(model.backbone(pixels), padding)


def without_syncs(function: Callable) -> None:
    """Raise RuntimeError if the host waits for the device."""
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        function()
    finally:
        torch.cuda.set_sync_debug_mode("default")


def kernels(function: Callable, device: str, runs: int = 10) -> dict[str, float]:
    """Wall time and kernel time in milliseconds, the share of the kernels, and their number."""
    wall = min(seconds(function, device) for _ in range(runs))
    with torch.profiler.profile(activities=[ProfilerActivity.CUDA]) as recorded:
        function()
        torch.cuda.synchronize()
    events = [event for event in recorded.events() if event.device_type == torch.autograd.DeviceType.CUDA]
    busy = sum(event.device_time for event in events) / 1e6
    return {"wall ms": 1e3 * wall, "kernel ms": 1e3 * busy, "share": busy / wall, "kernels": len(events)}
