"""Priors: positions from anchors, how they are scaled, and the width and height modulation."""

import pytest
import torch

from dab_detr.modeling.positional import sine_embedding
from dab_detr.modeling.priors import AnchorPrior, ContentScale, LayerScale, ModulatedAnchorPrior
from samples import random_boxes, worst

B, Q, C = 2, 6, 8


def no_scale(content: torch.Tensor, layer: int) -> torch.Tensor:
    return torch.ones_like(content[..., :1])


@pytest.mark.parametrize("out_dim", [1, C])
def test_content_scales_every_layer_but_the_first(out_dim):
    scale, content = ContentScale(dim=C, out_dim=out_dim), torch.randn(B, Q, C)
    assert (scale(content, 0) == 1).all()
    for layer in (1, 5):
        assert torch.equal(scale(content, layer), scale.mlp(content))
        assert scale(content, layer).shape == (B, Q, out_dim)


def test_layer_scale_has_a_vector_for_each_layer_the_first_included():
    scale, content = LayerScale(num_layers=3, dim=C), torch.randn(B, Q, C)
    assert scale.weight.shape == (3, C)
    for layer in range(3):
        assert torch.equal(scale(content, layer), scale.weight[layer])
    assert scale.weight.std() > 0.5


@pytest.mark.parametrize("anchor_dim", [2, 4])
def test_anchor_prior_embeds_all_columns_and_looks_at_x_and_y(anchor_dim):
    prior = AnchorPrior(dim=C, anchor_dim=anchor_dim, scale=ContentScale(dim=C, out_dim=C))
    content, anchors = torch.randn(B, Q, C), random_boxes(B, Q)[..., :anchor_dim]
    sine = sine_embedding(anchors, C // 2, 10000)
    for layer in (0, 1):
        position = prior(content, anchors, layer)
        assert torch.equal(position.embed, prior.embed(sine))
        factor = prior.scale.mlp(content) if layer else 1
        assert torch.equal(position.spatial, sine[..., :C] * factor)


@pytest.mark.parametrize("kind", [AnchorPrior, ModulatedAnchorPrior])
def test_temperature_of_the_anchors(kind):
    anchors = random_boxes(B, Q)
    prior = kind(dim=C, anchor_dim=4, scale=no_scale, temperature=20)
    position = AnchorPrior.forward(prior, torch.randn(B, Q, C), anchors, 0)
    assert torch.equal(position.spatial, sine_embedding(anchors, C // 2, 20)[..., :C])
    assert torch.equal(position.embed, prior.embed(sine_embedding(anchors, C // 2, 20)))


def test_modulation_multiplies_the_halves_by_reference_over_anchor_size():
    prior = ModulatedAnchorPrior(dim=C, anchor_dim=4, scale=ContentScale(dim=C, out_dim=C))
    content, anchors = torch.randn(B, Q, C), random_boxes(B, Q)
    for layer in (0, 1):
        plain = AnchorPrior.forward(prior, content, anchors, layer)
        position = prior(content, anchors, layer)
        assert torch.equal(position.embed, plain.embed)
        reference = prior.reference_size(content).sigmoid()
        y, x = plain.spatial.chunk(2, -1)
        expected = [y * (reference[..., 1:] / anchors[..., 3:]), x * (reference[..., :1] / anchors[..., 2:3])]
        assert worst(position.spatial, torch.cat(expected, -1)) < 1e-5


def test_wide_anchors_attend_widely():
    """Twice the width halves the x half of the spatial query, the y half stays."""
    prior = ModulatedAnchorPrior(dim=C, anchor_dim=4, scale=no_scale)
    content, anchors = torch.randn(B, Q, C), random_boxes(B, Q)
    wide = anchors * torch.tensor([1, 1, 2, 1])
    (y, x), (y_wide, x_wide) = (prior(content, a, 0).spatial.chunk(2, -1) for a in (anchors, wide))
    assert torch.equal(y, y_wide) and torch.equal(x, 2 * x_wide)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_ratio_of_sizes_is_fp32_under_autocast(dtype):
    """0.5 over a small width overflows fp16, and bf16 would round the reference to 3 digits."""
    prior = ModulatedAnchorPrior(dim=C, anchor_dim=4, scale=no_scale)
    content, anchors = torch.randn(B, Q, C), random_boxes(B, Q)
    anchors[..., 2:] = 1e-6
    with torch.autocast("cpu", dtype=dtype):
        position = prior(content, anchors, 0)
        reference = prior.reference_size(content)
    assert reference.dtype == dtype and position.spatial.dtype == torch.float32
    ratio = reference.float().sigmoid() / anchors[..., 2:]
    expected = sine_embedding(anchors, C // 2)[..., :C] * ratio.flip(-1).repeat_interleave(C // 2, -1)
    torch.testing.assert_close(position.spatial, expected, rtol=1e-6, atol=0)


def test_modulation_of_points_is_refused():
    with pytest.raises(ValueError, match="modulation needs anchor_dim=4, got 2"):
        ModulatedAnchorPrior(dim=C, anchor_dim=2, scale=no_scale)
