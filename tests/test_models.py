"""The published models have the published size and cost."""

import pytest
import torch
from detectron2.config import instantiate
from torch.utils.flop_counter import FlopCounterMode

from dab_detr.models import dab_detr

R101 = 42_394_816 - 23_454_912  # how many more parameters its backbone has


def build(num_classes: int = 91, **options) -> torch.nn.Module:
    """The model on the meta device: shapes and counts without arithmetic."""
    config = dab_detr(**options)
    config.num_classes = num_classes
    return instantiate(config).eval().to("meta")


def count(model: torch.nn.Module, trainable: bool = False) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


@pytest.mark.parametrize(
    ("options", "parameters", "millions"),
    [
        ({}, 43_671_517, 44),
        ({"num_patterns": 3}, 43_671_517 + 3 * 256, 44),
        ({"dilated": True}, 43_671_517, 44),
        ({"dilated": True, "num_patterns": 3}, 43_671_517 + 3 * 256, 44),
        ({"depth": 101}, 43_671_517 + R101, 63),
        ({"depth": 101, "num_patterns": 3}, 43_671_517 + R101 + 3 * 256, 63),
        ({"depth": 101, "dilated": True}, 43_671_517 + R101, 63),
        ({"fixed_xy": True}, 43_671_517 - 300 * 2, 44),
    ],
)
def test_parameters(options, parameters, millions):
    """Table 2 of the paper, and to the last one what the original's code has; fixed centres are no parameters."""
    model = build(**options)
    assert count(model) == parameters
    assert round(count(model) / 1e6) == millions


def test_frozen_parameters():
    """Stem and first stage are frozen, as in the original."""
    assert count(build(), trainable=True) == 43_449_117


@pytest.mark.parametrize(("size", "gmac"), [((800, 1066), 86.6), ((800, 1333), 107.5)])
def test_cost(size, gmac):
    model = build()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        features = model.backbone(torch.zeros(1, 3, *size, device="meta"))
        model.detect(features, torch.zeros(1, *size, dtype=torch.bool, device="meta"))
    assert counter.get_total_flops() / 2e9 == pytest.approx(gmac, rel=5e-3)


def test_cost_is_counted_on_cpu_too():
    """torch's counter passes over the fused attention of the CPU unless told its cost."""
    config = dab_detr()
    config.backbone.width, config.neck.in_channels = 4, 128
    model = instantiate(config).eval()
    costs = []
    for device in ("cpu", "meta"):
        features = {"res5": torch.zeros(1, 128, 20, 20, device=device)}
        padding = torch.zeros(1, 640, 640, dtype=torch.bool, device=device)
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model.to(device).detect(features, padding)
        costs.append(counter.get_total_flops())
    assert costs[0] == costs[1]
