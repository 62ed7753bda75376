"""Shared by the tests of attention."""

import pytest
import torch

from dab_detr.modeling import dot_product


@pytest.fixture
def fused_calls(monkeypatch) -> list:
    """Grows by one with every call of torch's fused attention."""
    calls = []
    fused = torch.nn.functional.scaled_dot_product_attention
    monkeypatch.setattr(dot_product.F, "scaled_dot_product_attention", lambda *args: calls.append(1) or fused(*args))
    return calls
