"""A batch answers as its images do one by one, and nothing in the padding can be seen."""

import pytest
import torch

from dab_detr.detector import DABDETR
from samples import golden_model, random_targets, worst

STRIDE = 32
TOLERANCE = 1e-5
SIZES = [(7, 9), (5, 6), (1, 9), (7, 1)]  # of the feature maps in a batch of 7 x 9


@pytest.fixture(params=["base", "patterns3", "no_iter_update", "cond_scalar"])
def model(request) -> DABDETR:
    return golden_model(request.param).eval()


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    """Feature maps (4, 32, 7, 9), random in the padding too, and the padding (4, H, W) of the images."""
    padding = torch.ones(len(SIZES), 7 * STRIDE, 9 * STRIDE, dtype=torch.bool)
    for i, (h, w) in enumerate(SIZES):
        padding[i, : h * STRIDE, : w * STRIDE] = False
    return torch.randn(len(SIZES), 32, 7, 9), padding


def outputs(model: DABDETR, feature: torch.Tensor, padding: torch.Tensor) -> torch.Tensor:
    """Logits and boxes of all layers (L, B, Q, K + 4)."""
    with torch.no_grad():
        prediction = model.detect({"res5": feature}, padding)
    return torch.cat([prediction.logits, prediction.boxes], -1)


def test_a_padded_batch_equals_single_images(model):
    feature, padding = batch()
    together = outputs(model, feature, padding)
    assert together[..., 0].std(-1).min() > 0.01  # queries differ
    for i, (h, w) in enumerate(SIZES):
        alone = outputs(model, feature[i : i + 1, :, :h, :w], torch.zeros(1, h * STRIDE, w * STRIDE, dtype=torch.bool))
        assert worst(together[:, i : i + 1], alone) < TOLERANCE
    assert worst(together, outputs(model, feature, torch.zeros_like(padding))) > 100 * TOLERANCE


@pytest.mark.parametrize("fill", [1e4, -1e30, 1e38])
def test_padded_cells_may_hold_any_finite_value(model, fill):
    feature, padding = batch()
    filled = feature.masked_fill(padding[:, None, ::STRIDE, ::STRIDE], fill)
    assert worst(outputs(model, filled, padding), outputs(model, feature, padding)) < TOLERANCE


@pytest.mark.parametrize("fill", [-1e30, 1e38])
def test_padded_cells_change_no_gradient(fill):
    feature, padding = batch()
    gradients = []
    for x in (feature, feature.masked_fill(padding[:, None, ::STRIDE, ::STRIDE], fill)):
        model = golden_model()
        prediction = model.detect({"res5": x}, padding)
        sum(model.criterion(prediction, random_targets([3, 2, 1, 0], classes=7)).values()).backward()
        gradients.append({name: p.grad for name, p in model.named_parameters() if p.grad is not None})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-5, msg=name)
