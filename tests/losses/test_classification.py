"""Focal loss against torchvision's, softmax loss against torch's, and matching costs against their formulas."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import sigmoid_focal_loss

from dab_detr.losses.batch import EffectiveBatch
from dab_detr.losses.classification import FocalLoss, QualityFocalLoss, SoftmaxLoss
from samples import worst

L, B, Q, K = 2, 3, 4, 5


def sample(scale: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits, and labels of which some are K: no object."""
    return scale * torch.randn(L, B, Q, K), torch.randint(K + 1, (L, B, Q))


def one_hot(labels: torch.Tensor) -> torch.Tensor:
    return (labels[..., None] == torch.arange(K)).float()


@pytest.mark.parametrize("alpha, gamma", [(0.25, 2.0), (0.7, 2.0), (0.25, 1.0), (0.5, 0.0)])
def test_loss_and_gradient_are_those_of_torchvision(alpha, gamma):
    logits, labels = sample()
    gradients = []
    for loss in (
        FocalLoss(alpha=alpha, gamma=gamma),
        lambda x, y, n: sigmoid_focal_loss(x, one_hot(y), alpha=alpha, gamma=gamma).sum((1, 2, 3)) / n,
    ):
        x = logits.clone().requires_grad_()
        values = loss(x, labels, torch.tensor(3.0))
        assert values.shape == (L,)
        gradients.append((values, torch.autograd.grad(values @ torch.tensor([1.0, 2.0]), x)[0]))
    (values, gradient), (expected, expected_gradient) = gradients
    torch.testing.assert_close(values, expected)
    assert worst(gradient, expected_gradient) < 1e-5


def test_defaults_are_those_of_the_paper():
    logits, labels = sample()
    plain, explicit = (x(logits, labels, torch.tensor(1.0)) for x in (FocalLoss(), FocalLoss(alpha=0.25, gamma=2.0)))
    assert torch.equal(plain, explicit)


def test_background_of_focal_loss_is_no_class():
    logits = torch.randn(1, 2, 3, K)
    labels = torch.full((1, 2, 3), FocalLoss().background(logits))
    expected = sigmoid_focal_loss(logits, torch.zeros_like(logits), alpha=0.25, gamma=2, reduction="sum")
    torch.testing.assert_close(FocalLoss()(logits, labels, torch.tensor(1.0)), expected[None])


@settings(max_examples=50, deadline=None)
@given(st.floats(-1e4, 1e4), st.integers(0, 1))
def test_sure_answers_have_finite_losses_gradients_and_costs(logit, label):
    focal, logits = FocalLoss(), torch.tensor([[[[logit]]]], requires_grad=True)
    loss = focal(logits, torch.tensor([[[label]]]), torch.tensor(1.0))
    loss.sum().backward()
    assert loss.isfinite().all() and loss >= 0 and logits.grad.isfinite().all()
    assert focal.cost(logits, torch.tensor([[0]])).isfinite().all()


@pytest.mark.parametrize("alpha, gamma", [(0.25, 2.0), (0.6, 1.5)])
def test_cost_is_what_an_object_adds_to_the_loss_of_its_class(alpha, gamma):
    logits, labels = sample()[0].double(), torch.randint(K, (B, 6))
    cost = FocalLoss(alpha=alpha, gamma=gamma).cost(logits, labels)
    assert cost.shape == (L, B, Q, 6)
    for layer in range(L):
        for image in range(B):
            for query in range(Q):
                for n, label in enumerate(labels[image].tolist()):
                    p = 1 / (1 + math.exp(-logits[layer, image, query, label].item()))
                    found = alpha * (1 - p) ** gamma * -math.log(p + 1e-8)
                    absent = (1 - alpha) * p**gamma * -math.log(1 - p + 1e-8)
                    assert cost[layer, image, query, n].item() == pytest.approx(found - absent, abs=1e-10)


def test_cost_keeps_its_floor_inside_the_logarithm():
    """1e-8 holds the cost of a hopeless class at 0.25 * log(1e8), whatever the logit."""
    cost = FocalLoss().cost(torch.full((1, 1, 1, 1), -300.0), torch.zeros(1, 1, dtype=torch.long))
    assert cost.item() == pytest.approx(0.25 * math.log(1e8), rel=1e-5)


def test_cost_without_objects():
    assert FocalLoss().cost(sample()[0], torch.zeros(B, 0, dtype=torch.long)).shape == (L, B, Q, 0)


def softmax_sample() -> tuple[torch.Tensor, torch.Tensor, EffectiveBatch]:
    """As many objects in every layer, on queries of its own; in the last image more than queries."""
    counts, labels = (2, 0, Q + 3), torch.full((L, B, Q), K)
    for layer in range(L):
        for image, count in enumerate(counts):
            labels[layer, image, torch.randperm(Q)[:count]] = torch.randint(K, (min(count, Q),))
    return 3 * torch.randn(L, B, Q, K + 1), labels, EffectiveBatch(torch.tensor(counts))


@pytest.mark.parametrize("no_object", [0.1, 1.0, 0.0])
def test_softmax_loss_is_weighted_cross_entropy_of_each_layer(no_object):
    """Whose mean is over the weights of all queries, whatever the number of objects."""
    logits, labels, batch = softmax_sample()
    softmax, weight = SoftmaxLoss(no_object=no_object), torch.tensor([1.0] * K + [no_object])
    values, gradients = [], []
    for loss in (
        lambda x: softmax(x, labels, softmax.normalizer(batch, x)),
        lambda x: torch.stack(
            [F.cross_entropy(x[i].flatten(0, 1), labels[i].flatten(), weight=weight) for i in range(L)]
        ),
    ):
        x = logits.clone().requires_grad_()
        values.append(loss(x))
        gradients.append(torch.autograd.grad(values[-1] @ torch.tensor([1.0, 2.0]), x)[0])
    assert values[0].shape == (L,)
    torch.testing.assert_close(*values)
    assert worst(*gradients) < 1e-6


def test_softmax_loss_weighs_no_object_as_detr_does():
    logits, labels, batch = softmax_sample()
    kinds = (SoftmaxLoss(), SoftmaxLoss(no_object=0.1))
    plain, explicit = (x(logits, labels, x.normalizer(batch, logits)) for x in kinds)
    assert torch.equal(plain, explicit)
    assert SoftmaxLoss().background(logits) == K


def test_softmax_loss_without_any_object():
    logits = torch.randn(L, B, Q, K + 1)
    labels = torch.full((L, B, Q), K)
    expected = -logits.log_softmax(-1)[..., K].flatten(1).mean(1)
    normalizer = SoftmaxLoss().normalizer(EffectiveBatch(torch.zeros(B, dtype=torch.long)), logits)
    torch.testing.assert_close(SoftmaxLoss()(logits, labels, normalizer), expected)


def test_softmax_cost_is_the_probability_of_the_label():
    logits, labels = torch.randn(L, B, Q, K + 1), torch.randint(K, (B, 6))
    cost = SoftmaxLoss().cost(logits, labels)
    assert cost.shape == (L, B, Q, 6)
    for image in range(B):
        for n, label in enumerate(labels[image].tolist()):
            probability = logits[:, image, :, label].exp() / logits[:, image].exp().sum(-1)
            assert worst(cost[:, image, :, n], -probability) < 1e-6
    assert SoftmaxLoss().cost(logits, torch.zeros(B, 0, dtype=torch.long)).shape == (L, B, Q, 0)


def test_quality_focal_loss_by_its_formula():
    """|y - p|^2 BCE(p, y), where y is the quality for a query's own class and 0 for all others."""
    logits, labels = sample()
    quality = torch.rand(L, B, Q)
    wanted = one_hot(labels) * quality[..., None]
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    expected = ((wanted - logits.sigmoid()).abs() ** 2 * entropy).sum((1, 2, 3)) / 3
    torch.testing.assert_close(QualityFocalLoss()(logits, labels, torch.tensor(3.0), quality), expected)
