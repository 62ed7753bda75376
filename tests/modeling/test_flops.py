"""The counters of torch and fvcore count the same products, in the fused kernels too."""

import pytest
import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from dab_detr.modeling import dot_product
from dab_detr.modeling.dot_product import attend

PRODUCTS = ("conv", "linear", "matmul", "bmm", "scaled_dot_product_attention", "baddbmm", "einsum")


class Attention(nn.Module):
    def forward(self, query, key, value):
        return attend(query, key, value, heads=2)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("width", [8, 6])
def test_attention_is_counted_whole(fused, width, monkeypatch):
    monkeypatch.setattr(dot_product, "fused_is_faster", lambda *_: fused)
    inputs = torch.rand(3, 5, 8), torch.rand(3, 7, 8), torch.rand(3, 7, width)
    expected = 3 * 5 * 7 * (8 + width)
    counted = FlopCountAnalysis(Attention(), inputs).unsupported_ops_warnings(False)
    assert sum(counted.by_operator()[x] for x in PRODUCTS) == expected
    if not fused or width == 8:  # torch's fused kernel of CPUs wants equal widths
        with FlopCounterMode(display=False) as counter:
            Attention()(*inputs)
        assert counter.get_total_flops() == 2 * expected
