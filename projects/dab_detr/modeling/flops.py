"""What the counters of torch and fvcore lack to count a detector: products inside of fused kernels."""

import math

import torch
from fvcore.nn.flop_count import _DEFAULT_SUPPORTED_OPS
from fvcore.nn.jit_handles import get_shape
from torch.utils.flop_counter import flop_registry, register_flop_formula, sdpa_flop_count

FUSED_ON_CPU = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


def attention(inputs: list, outputs: list) -> int:
    """Multiplications of fused attention in a trace: the scores, and the mean of the values."""
    query, key, value = map(get_shape, inputs[:3])
    return math.prod(query) * key[-2] + math.prod(query[:-1]) * key[-2] * value[-1]


def batched_product(inputs: list, outputs: list) -> int:
    """Multiplications of `baddbmm` in a trace."""
    return math.prod(get_shape(inputs[1])) * get_shape(inputs[2])[-1]


def teach_counters() -> None:
    """Add the formulas to torch's counter, and to fvcore's, which Detectron2's tools/analyze_model.py uses."""
    if FUSED_ON_CPU not in flop_registry:
        register_flop_formula(FUSED_ON_CPU)(lambda query, key, value, *_, **__: sdpa_flop_count(query, key, value))
    _DEFAULT_SUPPORTED_OPS.setdefault("aten::scaled_dot_product_attention", attention)
    _DEFAULT_SUPPORTED_OPS.setdefault("aten::baddbmm", batched_product)
