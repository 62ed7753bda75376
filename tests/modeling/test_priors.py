"""Priors: positions from anchors, how they are scaled, and the width and height modulation."""

from dataclasses import replace

import pytest
import torch

from dab_detr.modeling.positional import sine_embedding
from dab_detr.modeling.priors import (
    AnchorPointPrior,
    AnchorPrior,
    ConditionalPrior,
    ContentScale,
    DeformableAnchorPrior,
    LayerScale,
    ModulatedAnchorPrior,
    StaticPrior,
)
from dab_detr.modeling.structures import Queries
from samples import random_boxes, random_memory, worst

B, Q, C = 2, 6, 8


def sample(columns: int = 4) -> Queries:
    return Queries(content=torch.randn(B, Q, C), anchors=random_boxes(B, Q)[..., :columns])


def memory():
    """Anchors in feature maps with padding; only some priors look at it."""
    return random_memory([(4, 6), (3, 2)], dim=C)


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
    queries = sample(anchor_dim)
    sine = sine_embedding(queries.anchors, C // 2, 10000)
    for layer in (0, 1):
        position = prior(queries, memory(), layer)
        assert torch.equal(position.embed, prior.embed(sine))
        factor = prior.scale.mlp(queries.content) if layer else 1
        assert torch.equal(position.spatial, sine[..., :C] * factor)


def test_a_prior_of_points_reads_the_centers_of_boxes():
    prior, boxes = AnchorPrior(dim=C, anchor_dim=2, scale=no_scale), sample()
    points = replace(boxes, anchors=boxes.anchors[..., :2])
    assert torch.equal(prior(boxes, memory(), 1).embed, prior(points, memory(), 1).embed)


@pytest.mark.parametrize("kind", [AnchorPrior, ModulatedAnchorPrior])
def test_temperature_of_the_anchors(kind):
    queries = sample()
    prior = kind(dim=C, anchor_dim=4, scale=no_scale, temperature=20)
    position = AnchorPrior.forward(prior, queries, memory(), 0)
    sine = sine_embedding(queries.anchors, C // 2, 20)
    assert torch.equal(position.spatial, sine[..., :C])
    assert torch.equal(position.embed, prior.embed(sine))


def test_modulation_multiplies_the_halves_by_reference_over_anchor_size():
    prior = ModulatedAnchorPrior(dim=C, anchor_dim=4, scale=ContentScale(dim=C, out_dim=C))
    queries = sample()
    for layer in (0, 1):
        plain = AnchorPrior.forward(prior, queries, memory(), layer)
        position = prior(queries, memory(), layer)
        assert torch.equal(position.embed, plain.embed)
        reference = prior.reference_size(queries.content).sigmoid() / queries.anchors[..., 2:]
        y, x = plain.spatial.chunk(2, -1)
        expected = [y * reference[..., 1:], x * reference[..., :1]]
        assert worst(position.spatial, torch.cat(expected, -1)) < 1e-5


def test_wide_anchors_attend_widely():
    """Twice the width halves the x half of the spatial query, the y half stays."""
    prior = ModulatedAnchorPrior(dim=C, anchor_dim=4, scale=no_scale)
    queries = sample()
    wide = replace(queries, anchors=queries.anchors * torch.tensor([1, 1, 2, 1]))
    (y, x), (y_wide, x_wide) = (prior(q, memory(), 0).spatial.chunk(2, -1) for q in (queries, wide))
    assert torch.equal(y, y_wide) and torch.equal(x, 2 * x_wide)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_ratio_of_sizes_is_fp32_under_autocast(dtype):
    """0.5 over a small width overflows fp16, and bf16 would round the reference to 3 digits."""
    prior = ModulatedAnchorPrior(dim=C, anchor_dim=4, scale=no_scale)
    queries = sample()
    anchors = queries.anchors
    anchors[..., 2:] = 1e-6
    with torch.autocast("cpu", dtype=dtype):
        position = prior(queries, memory(), 0)
        reference = prior.reference_size(queries.content)
    assert reference.dtype == dtype and position.spatial.dtype == torch.float32
    ratio = reference.float().sigmoid() / anchors[..., 2:]
    expected = sine_embedding(anchors, C // 2)[..., :C] * ratio.flip(-1).repeat_interleave(C // 2, -1)
    torch.testing.assert_close(position.spatial, expected, rtol=1e-6, atol=0)


def test_modulation_of_points_is_refused():
    with pytest.raises(ValueError, match="modulation needs anchor_dim=4, got 2"):
        ModulatedAnchorPrior(dim=C, anchor_dim=2, scale=no_scale)


@pytest.mark.parametrize("anchor_dim", [2, 4])
def test_deformable_prior_measures_anchors_in_the_padded_map(anchor_dim):
    """Of the first level; the anchors to sample around stay relative to the image."""
    prior = DeformableAnchorPrior(dim=C, anchor_dim=anchor_dim, scale=ContentScale(dim=C, out_dim=C), temperature=20.0)
    images = random_memory([(4, 6), (3, 2)], [(2, 3), (2, 1)], dim=C)
    queries = sample()
    ratio = torch.tensor([[1.0, 1.0, 1.0, 1.0], [2 / 6, 3 / 4, 2 / 6, 3 / 4]])[:, None]
    sine = sine_embedding((queries.anchors * ratio)[..., :anchor_dim], C // 2, 20)
    for layer in (0, 1):
        position = prior(queries, images, layer)
        factor = prior.scale.mlp(queries.content) if layer else 1
        assert worst(position.embed, prior.embed(sine) * factor) < 1e-6
        assert position.anchors is queries.anchors and position.spatial is None


def learned(columns: int) -> Queries:
    return replace(sample(columns), embed=torch.randn(B, Q, C))


@pytest.mark.parametrize("columns", [0, 2, 4])
def test_static_prior_is_what_was_learned(columns):
    queries = learned(columns)
    for layer in (0, 1):
        position = StaticPrior()(queries, memory(), layer)
        assert position.embed is queries.embed and position.anchors is queries.anchors


def test_conditional_prior_looks_where_the_content_says():
    prior, queries = ConditionalPrior(dim=C, scale=ContentScale(dim=C, out_dim=C), temperature=20.0), learned(2)
    sine = sine_embedding(queries.anchors, C // 2, 20)
    for layer in (0, 1):
        position = prior(queries, memory(), layer)
        factor = prior.scale.mlp(queries.content) if layer else 1
        assert position.embed is queries.embed and torch.equal(position.spatial, sine * factor)


def test_anchor_points_are_embedded_and_encoded_as_cells_are():
    prior, queries = AnchorPointPrior(dim=C, temperature=20.0), sample(2)
    images = replace(memory(), encode=lambda points: 3 * points)
    for layer in (0, 1):
        position = prior(queries, images, layer)
        assert torch.equal(position.embed, prior.embed(sine_embedding(queries.anchors, C // 2, 20)))
        assert torch.equal(position.spatial, 3 * queries.anchors)


@pytest.mark.parametrize("kind", [ConditionalPrior, AnchorPointPrior, AnchorPrior, DeformableAnchorPrior])
def test_default_temperature_is_that_of_the_released_models(kind):
    options = {} if kind is AnchorPointPrior else {"scale": no_scale}
    options |= {"anchor_dim": 2} if kind in (AnchorPrior, DeformableAnchorPrior) else {}
    assert kind(dim=C, **options).temperature == 10000
