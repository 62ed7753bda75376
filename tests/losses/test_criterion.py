"""The set criterion against a loop over layers and images, and what it does in the corners."""

from dataclasses import replace

import pytest
import torch
from detectron2.utils.events import EventStorage

from dab_detr.losses.batch import EffectiveBatch
from dab_detr.modeling.structures import Prediction, Target
from losses_by_hand import CLASSES, WEIGHTS, by_hand, criterion, learnable, noised_slots, random_slots
from samples import random_prediction, random_targets


@pytest.mark.parametrize("counts", [(3, 2), (0, 4), (9, 1), (0, 0)])
def test_losses_and_gradients_equal_a_loop_over_layers_and_images(counts):
    prediction, targets = learnable(random_prediction(layers=3)), random_targets(counts)
    inputs = (prediction.logits, prediction.boxes)
    losses, expected = criterion()(prediction, targets), by_hand(prediction, targets)
    assert set(losses) == set(expected)
    for name, loss in losses.items():
        assert loss.shape == ()
        torch.testing.assert_close(loss, WEIGHTS[name.rstrip("_01")] * expected[name])
    gradients = torch.autograd.grad(sum(losses.values()), inputs)
    total = sum(WEIGHTS[name.rstrip("_01")] * loss for name, loss in expected.items())
    references = torch.autograd.grad(total, inputs, allow_unused=True)
    for gradient, reference in zip(gradients, references, strict=True):
        reference = torch.zeros_like(gradient) if reference is None else reference
        torch.testing.assert_close(gradient, reference, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_scale_their_own_loss(name):
    prediction, targets = random_prediction(), random_targets([3, 2])
    option = {"loss_ce": "weight_class", "loss_bbox": "weight_bbox", "loss_giou": "weight_giou"}[name]
    plain, heavier = criterion()(prediction, targets), criterion(**{option: 10 * WEIGHTS[name]})(prediction, targets)
    for key, loss in plain.items():
        torch.testing.assert_close(heavier[key], loss * (10 if key in (name, f"{name}_0") else 1))


def test_eps_is_that_of_the_giou():
    prediction, targets = random_prediction(layers=1), random_targets([3, 2])
    losses = criterion(eps=0.1)(prediction, targets)
    torch.testing.assert_close(losses["loss_giou"], 2 * by_hand(prediction, targets, eps=0.1)["loss_giou"])


def test_without_auxiliary_losses_only_the_last_layer_counts():
    prediction, targets = learnable(random_prediction(layers=3)), random_targets([3, 2])
    losses, every = criterion(auxiliary=False)(prediction, targets), criterion()(prediction, targets)
    assert set(losses) == set(WEIGHTS)
    assert all(torch.equal(loss, every[name]) for name, loss in losses.items())
    sum(losses.values()).backward()
    for tensor in (prediction.logits, prediction.boxes):
        assert (tensor.grad[:2] == 0).all() and (tensor.grad[2] != 0).any()


def test_batch_without_objects_has_zero_box_losses_but_a_gradient_to_every_prediction():
    prediction = learnable(random_prediction())
    losses = criterion()(prediction, random_targets([0, 0]))
    for name, loss in losses.items():
        assert (loss == 0) == (not name.startswith("loss_ce")), name
        assert loss.requires_grad
    sum(losses.values()).backward()
    assert (prediction.logits.grad != 0).all()
    assert (prediction.boxes.grad == 0).all()


@pytest.mark.parametrize("parts", ["matched", "all"])
@pytest.mark.parametrize(
    "counts, processes", [((5, 0, 4, 0), 2), ((0, 0, 9, 0, 0, 0), 3), ((1, 0, 0, 0, 0, 0, 0, 0), 4), ((0, 0, 0, 0), 2)]
)
def test_normalizer_is_the_number_of_objects_in_the_effective_batch_for_each_process(counts, processes, parts):
    """In all at least one object; the same for proposals, and for denoising times its groups."""
    prediction, targets = random_prediction(), random_targets(counts[:2])
    if parts == "all":
        proposals, noised = random_prediction(layers=1), noised_slots(targets)
        prediction = replace(prediction, proposals=proposals, denoised=(random_slots(noised), noised))
    alone = criterion()(prediction, targets)
    together = criterion()(prediction, targets, EffectiveBatch(torch.tensor(counts), processes))
    ratio = max(sum(counts[:2]), 1) * processes / max(sum(counts), 1)
    for name, loss in alone.items():
        torch.testing.assert_close(together[name], loss * ratio)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_predictions_have_fp32_losses(dtype):
    plain, targets = random_prediction(), random_targets([3, 2])
    rounded = Prediction(plain.logits.to(dtype), plain.boxes.to(dtype))
    expected = criterion()(Prediction(rounded.logits.float(), rounded.boxes.float()), targets)
    for name, loss in criterion()(rounded, targets).items():
        assert loss.dtype == torch.float32 and torch.equal(loss, expected[name])


def answers(labels: list[list[int]], guesses: list[list[int | None]], boxes: torch.Tensor):
    """One layer whose queries sit exactly on the objects and are just over even on `guesses`; None: on no class."""
    logits = torch.full((1, len(guesses), len(guesses[0]), CLASSES), -0.1)
    for image, row in enumerate(guesses):
        for query, guess in enumerate(row):
            if guess is not None:
                logits[0, image, query, guess] = 0.1
    targets = [Target(torch.tensor(x, dtype=torch.long), boxes[: len(x)]) for x in labels]
    return Prediction(logits, boxes.expand(1, len(guesses), -1, -1)), targets


def test_diagnostics_go_to_the_event_storage_and_never_into_the_losses():
    boxes = random_prediction(queries=4).boxes[0, 0]
    # image 0: one of three classes is wrong, one query too many answers; image 1: one right, two too many
    prediction, targets = answers([[0, 1, 2], [3]], [[0, 1, 3, 0], [3, 0, 0, None]], boxes)
    with EventStorage() as storage:
        losses = criterion()(prediction, targets)
    assert set(losses) == set(WEIGHTS)
    latest = {name: value for name, (value, _) in storage.latest().items()}
    assert latest["class_error"] == pytest.approx(25.0) and latest["cardinality_error"] == pytest.approx(1.5)
    assert set(latest) == {"class_error", "cardinality_error", "box_spread", "logit_spread"}  # one layer, no churn
    assert set(criterion()(prediction, targets)) == set(WEIGHTS)  # outside of training there is no storage


def test_diagnostics_are_those_of_the_last_layer_and_count_too_few_as_well():
    boxes = random_prediction(queries=4).boxes[0, 0]
    first, _ = answers([[0, 1]], [[0, 1, 2, None]], boxes)
    last, targets = answers([[0, 1]], [[None, None, None, None]], boxes)
    prediction = Prediction(*(torch.cat([getattr(x, name) for x in (first, last)]) for name in ("logits", "boxes")))
    with EventStorage() as storage:
        criterion()(prediction, targets)
    assert storage.latest()["cardinality_error"][0] == pytest.approx(2.0)


def test_diagnostics_of_a_batch_without_objects():
    with EventStorage() as storage:
        criterion()(random_prediction(), random_targets([0, 0]))
    assert storage.latest()["class_error"][0] == 100


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_predictions_that_are_not_finite_show_in_the_losses(bad):
    prediction = random_prediction()
    prediction.boxes[1] = bad
    prediction.logits[1] = bad
    losses = criterion()(prediction, random_targets([3, 2]))
    assert all(loss.isfinite() == name.endswith("_0") for name, loss in losses.items())
