"""The precision of backbone and transformer; boxes and losses stay in fp32."""

from contextlib import AbstractContextManager, nullcontext

import torch

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}


def check_precision(precision: str) -> str:
    """Return the precision. Raises ValueError for one that a model cannot have."""
    if precision not in PRECISIONS:
        raise ValueError(
            f"model.precision must be one of {list(PRECISIONS)}, got {precision!r} (fp16, which needs its gradients "
            "scaled, is train.amp.enabled=True on a GPU; in a yaml config SOLVER.AMP.ENABLED)"
        )
    return precision


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """Autocast to bf16 for "bf16". "fp32" leaves a surrounding autocast as it is."""
    dtype = PRECISIONS[precision]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)
