"""The precision in which a detector computes what comes before boxes and losses."""

from contextlib import AbstractContextManager, nullcontext

import torch

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16}


def check_precision(precision: str) -> str:
    """Raises ValueError for a precision that a model cannot have."""
    if precision not in PRECISIONS:
        raise ValueError(
            f"model.precision must be one of {list(PRECISIONS)}, got {precision!r} (fp16, which needs its gradients "
            "scaled, is train.amp.enabled=True on a GPU; in a yaml config SOLVER.AMP.ENABLED)"
        )
    return precision


def autocast(precision: str, device: torch.device) -> AbstractContextManager:
    """Products in 16 bits for all but "fp32", which leaves an autocast as it finds it."""
    dtype = PRECISIONS[precision]
    return nullcontext() if dtype is None else torch.autocast(device.type, dtype)
