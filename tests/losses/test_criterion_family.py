"""The criterion's losses for the rest of the family: softmax, proposals of two-stage detectors, denoising."""

from dataclasses import replace

import pytest
import torch
from detectron2.utils.events import EventStorage
from torchvision.ops import box_convert, generalized_box_iou_loss, sigmoid_focal_loss

from dab_detr.losses.batch import EffectiveBatch
from dab_detr.losses.classification import FocalLoss, SoftmaxLoss
from dab_detr.losses.criterion import SetCriterion
from dab_detr.losses.matcher import HungarianMatcher
from dab_detr.modeling.structures import Prediction, Target
from losses_by_hand import CLASSES, GROUPS, WEIGHTS, by_hand, criterion, learnable, noised_slots, random_slots
from samples import random_prediction, random_targets


def test_softmax_loss_is_a_mean_over_all_queries():
    """Two layers by hand: queries without an object are of the last class, and weigh a tenth."""
    classification = SoftmaxLoss()
    matcher = HungarianMatcher(classification=classification, cost_class=1.0)
    prediction, targets = random_prediction(classes=CLASSES + 1), random_targets([3, 1])
    with EventStorage() as storage:
        losses = SetCriterion(matcher=matcher, classification=classification)(prediction, targets)
    for layer, name in enumerate(("loss_ce_0", "loss_ce")):
        alone = Prediction(prediction.logits[layer : layer + 1], prediction.boxes[layer : layer + 1])
        matches = matcher(alone, targets)
        labels = torch.full((2, 5), CLASSES)
        labels[matches.query[1:]] = torch.cat([target.labels for target in targets])[matches.object]
        weight = torch.tensor([1.0] * CLASSES + [0.1])
        logits = prediction.logits[layer].flatten(0, 1)
        expected = torch.nn.functional.cross_entropy(logits, labels.flatten(), weight=weight)
        torch.testing.assert_close(losses[name], expected)
    wrong = (prediction.logits[1].argmax(-1) != labels)[labels < CLASSES].float().mean()
    assert storage.latest()["class_error"][0] == pytest.approx(100 * wrong.item())
    found = (prediction.logits[1].argmax(-1) != CLASSES).sum(1)
    error = (found - torch.tensor([3, 1])).abs().float().mean()
    assert storage.latest()["cardinality_error"][0] == pytest.approx(error.item())
    assert not torch.equal(found, (prediction.logits[1].amax(-1) > 0).sum(1))  # the rule of sigmoid probabilities


@pytest.mark.parametrize("kind, classes", [(FocalLoss, CLASSES), (SoftmaxLoss, CLASSES + 1)])
def test_losses_of_the_parts_of_a_batch_add_up_to_those_of_the_whole(kind, classes):
    """With more objects than queries in one image, and none in another."""
    classification = kind()
    both = SetCriterion(matcher=HungarianMatcher(classification=classification), classification=classification)
    counts = (9, 1, 0, 3)
    prediction, targets = random_prediction(images=4, classes=classes), random_targets(counts)
    whole, batch = both(prediction, targets), EffectiveBatch(torch.tensor(counts))
    parts = [
        both(Prediction(prediction.logits[:, part], prediction.boxes[:, part]), targets[part], batch)
        for part in (slice(0, 1), slice(1, 4))
    ]
    for name, loss in whole.items():
        torch.testing.assert_close(parts[0][name] + parts[1][name], loss)


@pytest.mark.parametrize("class_agnostic", [False, True])
@pytest.mark.parametrize("counts", [(3, 2), (0, 4), (0, 0)])
def test_proposals_are_matched_and_cost_as_a_layer_of_their_own(counts, class_agnostic):
    """Where they only tell objects from background, all labels are 0."""
    prediction, targets = random_prediction(), random_targets(counts)
    proposals = random_prediction(layers=1, queries=9, seed=5)
    losses = criterion(class_agnostic=class_agnostic)(replace(prediction, proposals=proposals), targets)
    plain = criterion()(prediction, targets)
    assert set(losses) == set(plain) | {f"{name}_enc" for name in WEIGHTS}
    assert all(torch.equal(losses[name], loss) for name, loss in plain.items())
    if class_agnostic:
        targets = [Target(torch.zeros_like(x.labels), x.boxes) for x in targets]
    for name, loss in by_hand(proposals, targets).items():
        torch.testing.assert_close(losses[f"{name}_enc"], WEIGHTS[name] * loss)


def test_diagnostics_are_not_those_of_the_proposals():
    prediction, targets = random_prediction(), random_targets([3, 2])
    found = []
    for x in (prediction, replace(prediction, proposals=random_prediction(layers=1, queries=9, seed=5))):
        with EventStorage() as storage:
            criterion()(x, targets)
        found.append(storage.latest())
    assert found[0] == found[1]


def test_proposals_have_losses_where_earlier_layers_have():
    prediction = replace(random_prediction(), proposals=random_prediction(layers=1, queries=9, seed=5))
    assert any(name.endswith("_enc") for name in criterion()(prediction, random_targets([3, 2])))
    assert set(criterion(auxiliary=False)(prediction, random_targets([3, 2]))) == set(WEIGHTS)


@pytest.mark.parametrize("auxiliary", [True, False])
@pytest.mark.parametrize("counts", [(3, 2), (0, 4), (0, 0)])
def test_denoising_costs_what_its_slots_answer_by_the_groups_and_objects(counts, auxiliary):
    prediction, targets = random_prediction(), random_targets(counts)
    noised = noised_slots(targets)
    answers = random_slots(noised)
    losses = criterion(auxiliary=auxiliary)(replace(prediction, denoised=(answers, noised)), targets)
    plain = criterion(auxiliary=auxiliary)(prediction, targets)
    layers = {"": 1, "_0": 0} if auxiliary else {"": 1}
    assert set(losses) == set(plain) | {f"{name}_dn{suffix}" for name in WEIGHTS for suffix in layers}
    assert all(torch.equal(losses[name], loss) for name, loss in plain.items())
    normalizer = GROUPS * max(sum(counts), 1)
    for suffix, layer in layers.items():
        sums = dict.fromkeys(WEIGHTS, torch.tensor(0.0))
        for b, slot in noised.valid.nonzero().tolist():
            wanted = torch.eye(CLASSES)[noised.labels[b, slot]]
            guess, box = answers.boxes[layer, b, slot], noised.boxes[b, slot]
            corners = [box_convert(x, "cxcywh", "xyxy") for x in (guess, box)]
            focal = sigmoid_focal_loss(answers.logits[layer, b, slot], wanted, alpha=0.25, gamma=2, reduction="sum")
            sums["loss_ce"] = sums["loss_ce"] + focal
            sums["loss_bbox"] = sums["loss_bbox"] + (guess - box).abs().sum()
            sums["loss_giou"] = sums["loss_giou"] + generalized_box_iou_loss(*corners, eps=1e-6)
        for name, total in sums.items():
            torch.testing.assert_close(losses[f"{name}_dn{suffix}"], WEIGHTS[name] * total / normalizer)


def test_padding_among_the_slots_costs_nothing():
    """Neither its answers nor what stands where an object would be."""
    prediction, targets = random_prediction(), random_targets([1, 3])
    noised = noised_slots(targets)
    answers, padding = random_slots(noised), ~noised.valid
    assert padding.sum() == 2 * GROUPS
    answers.logits.requires_grad_()
    answers.boxes.requires_grad_()
    losses = criterion()(replace(prediction, denoised=(answers, noised)), targets)
    sum(losses.values()).backward()
    for x in (answers.logits, answers.boxes):
        assert (x.grad[:, padding] == 0).all() and (x.grad[:, noised.valid] != 0).any(-1).all()
    other = Prediction(answers.logits.clone(), answers.boxes.clone())
    other.logits[:, padding], other.boxes[:, padding] = 50.0, 0.9
    noised.labels[padding], noised.boxes[padding] = 2, 0.3
    again = criterion()(replace(prediction, denoised=(other, noised)), targets)
    assert all(torch.equal(again[name], loss) for name, loss in losses.items())


def test_slots_of_background_have_no_box_and_each_slot_its_weight():
    """Image by image, with a weight that differs from slot to slot, and labels and boxes that must not count."""
    targets = random_targets([2, 3])
    noised = noised_slots(targets)
    positive = noised.positive & (torch.arange(noised.weight.shape[1]) % 2 == 0)
    weight = torch.rand_like(noised.weight) * (torch.arange(noised.weight.shape[1]) != 4)
    noised = replace(noised, positive=positive & (weight > 0), weight=weight)
    answers = random_slots(noised)
    losses = criterion()(replace(random_prediction(), denoised=(answers, noised)), targets)
    expected = dict.fromkeys(WEIGHTS, torch.tensor(0.0))
    for b, slot in (weight > 0).nonzero().tolist():
        wanted = torch.zeros(CLASSES)
        if noised.positive[b, slot]:
            wanted[noised.labels[b, slot]] = 1
            guess, box = (box_convert(x[b, slot], "cxcywh", "xyxy") for x in (answers.boxes[-1], noised.boxes))
            distance = (answers.boxes[-1, b, slot] - noised.boxes[b, slot]).abs().sum()
            expected["loss_bbox"] = expected["loss_bbox"] + weight[b, slot] * distance
            overlap = generalized_box_iou_loss(guess, box, eps=1e-6)
            expected["loss_giou"] = expected["loss_giou"] + weight[b, slot] * overlap
        focal = sigmoid_focal_loss(answers.logits[-1, b, slot], wanted, alpha=0.25, gamma=2, reduction="sum")
        expected["loss_ce"] = expected["loss_ce"] + weight[b, slot] * focal
    for name, total in expected.items():
        torch.testing.assert_close(losses[f"{name}_dn"], WEIGHTS[name] * total / 5)


def test_denoising_of_a_batch_without_objects_costs_nothing_and_is_still_part_of_the_graph():
    targets = random_targets([0, 0])
    noised = noised_slots(targets)
    answers = learnable(random_slots(noised))
    losses = criterion()(replace(random_prediction(), denoised=(answers, noised)), targets)
    denoised = [loss for name, loss in losses.items() if "_dn" in name]
    assert len(denoised) == 6 and all(loss == 0 and loss.requires_grad for loss in denoised)


def test_weights_are_those_of_all_parts():
    targets = random_targets([3, 2])
    noised = noised_slots(targets)
    proposals = random_prediction(layers=1, seed=5)
    prediction = replace(random_prediction(), proposals=proposals, denoised=(random_slots(noised), noised))
    plain, heavier = criterion()(prediction, targets), criterion(weight_giou=20.0)(prediction, targets)
    for name, loss in plain.items():
        torch.testing.assert_close(heavier[name], loss * (10 if name.startswith("loss_giou") else 1))
