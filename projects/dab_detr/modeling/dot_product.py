"""Scaled dot-product attention in several heads: torch's fused kernel or plain products, the faster of the two."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .flops import teach_counters

# On CPU torch's fused kernel is faster above about this many scores per head.
FUSED_FROM = 2**17


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    heads: int,
    blocked: Tensor | None = None,
    dropout: float = 0.0,
) -> Tensor:
    """Multi-head attention (B, Q, C) of queries (B, Q, E) over keys (B, S, E) with values (B, S, C).

    blocked: bool, broadcast to (B, heads, Q, S), True where a query must not see a key.
    """
    query, key, value = (in_heads(x, heads) for x in (query, key, value))
    if fused_is_faster(query, key, value):
        allowed = None if blocked is None else ~blocked
        out = F.scaled_dot_product_attention(query, key, value, allowed, dropout)
    else:
        out = F.dropout(scores(query, key, blocked).softmax(-1), dropout) @ value
    return out.transpose(1, 2).flatten(2)


def fused_is_faster(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """Whether torch's fused kernel is faster for (B, heads, Q, E), (B, heads, S, E) and (B, heads, S, C).

    By our measurements, it always is on a GPU. On a CPU it is in full precision, if query and value have the same width
    and the map is large enough. In 16 bits, its exponentials cost more than all products. A captured graph must not
    depend on the size of the map, so it always uses the fused kernel.
    """
    if query.is_cuda:
        return True
    if query.shape[-1] != value.shape[-1] or query.dtype.itemsize <= 2:
        return False
    captured = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return captured or query.shape[2] * key.shape[2] >= FUSED_FROM


def scores(query: Tensor, key: Tensor, blocked: Tensor | None) -> Tensor:
    """Scaled products (B, heads, Q, S), -inf where blocked; one pass over memory scales and masks."""
    mask = query.new_zeros(())
    if blocked is not None:
        mask = torch.zeros_like(blocked, dtype=query.dtype).masked_fill(blocked, float("-inf"))
        if mask.dim() == 4:
            mask = mask.expand(*query.shape[:2], -1, -1).flatten(0, 1)
    products = torch.baddbmm(mask, query.flatten(0, 1), key.flatten(0, 1).mT, alpha=query.shape[-1] ** -0.5)
    return products.unflatten(0, query.shape[:2])


def in_heads(x: Tensor, heads: int) -> Tensor:
    """(B, N, E) as (B, heads, N, E / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


teach_counters()
