"""Dot-product attention: which kernel does it, and widths of heads."""

import pytest
import torch

from dab_detr.modeling import dot_product
from samples import worst

B, Q, S, C, HEADS = 2, 5, 7, 12, 3


def test_large_maps_take_the_fused_kernel(monkeypatch, fused_calls):
    monkeypatch.setattr(dot_product, "FUSED_FROM", 10 * 16)
    for cells in (15, 16):
        dot_product.attend(torch.randn(1, 10, 4), torch.randn(1, cells, 4), torch.randn(1, cells, 4), heads=2)
    assert len(fused_calls) == 1


@pytest.mark.parametrize("threshold", [0, 2**40])
def test_heads_may_be_narrower_in_values_than_in_scores(threshold, monkeypatch):
    monkeypatch.setattr(dot_product, "FUSED_FROM", threshold)
    value = torch.randn(B, S, 6)
    uniform = dot_product.attend(torch.zeros(B, Q, C), torch.randn(B, S, C), value, heads=HEADS)
    assert worst(uniform, value.mean(1, keepdim=True).expand(-1, Q, -1)) < 1e-6
