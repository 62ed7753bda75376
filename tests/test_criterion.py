"""The set criterion against a loop over layers and images, and what it does in the corners."""

from dataclasses import replace

import pytest
import torch
from detectron2.utils import comm
from detectron2.utils.events import EventStorage
from torchvision.ops import box_convert, generalized_box_iou_loss, sigmoid_focal_loss

from dab_detr.losses.classification import FocalLoss, SoftmaxLoss
from dab_detr.losses.criterion import SetCriterion
from dab_detr.losses.matcher import HungarianMatcher
from dab_detr.modeling.structures import Noised, Prediction, Target
from samples import random_prediction, random_targets

CLASSES = 4


def criterion(**options) -> SetCriterion:
    classification = FocalLoss()
    return SetCriterion(
        matcher=HungarianMatcher(classification=classification), classification=classification, **options
    )


def learnable(prediction: Prediction) -> Prediction:
    return Prediction(prediction.logits.requires_grad_(), prediction.boxes.requires_grad_())


def by_hand(prediction: Prediction, targets: list[Target], eps: float = 1e-6) -> dict[str, torch.Tensor]:
    """Unweighted losses of every layer, image by image, with torchvision's losses."""
    matcher, losses = criterion().matcher, {}
    layers = len(prediction.logits)
    num_boxes = max(sum(len(target.labels) for target in targets), 1)
    for layer in range(layers):
        sums = dict.fromkeys(("loss_ce", "loss_bbox", "loss_giou"), torch.tensor(0.0))
        for image, (labels, boxes) in enumerate(targets):
            logits, guesses = prediction.logits[layer, image], prediction.boxes[layer, image]
            matches = matcher(Prediction(logits[None, None], guesses[None, None]), targets[image : image + 1])
            wanted = torch.zeros(len(logits), CLASSES)
            for query, match in zip(matches.query[2], matches.object, strict=True):
                wanted[query, labels[match]] = 1
                guess, box = guesses[query], boxes[match]
                corners = (box_convert(x, "cxcywh", "xyxy") for x in (guess, box))
                sums["loss_bbox"] = sums["loss_bbox"] + (guess - box).abs().sum()
                sums["loss_giou"] = sums["loss_giou"] + generalized_box_iou_loss(*corners, eps=eps)
            sums["loss_ce"] = sums["loss_ce"] + sigmoid_focal_loss(logits, wanted, alpha=0.25, gamma=2, reduction="sum")
        suffix = "" if layer == layers - 1 else f"_{layer}"
        losses |= {f"{name}{suffix}": value / num_boxes for name, value in sums.items()}
    return losses


WEIGHTS = {"loss_ce": 1.0, "loss_bbox": 5.0, "loss_giou": 2.0}


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
@pytest.mark.parametrize("here, elsewhere, world", [(5, 4, 2), (0, 9, 3), (1, 0, 4), (0, 0, 2)])
def test_normaliser_is_the_mean_over_processes_and_at_least_one(here, elsewhere, world, parts, monkeypatch):
    """The same for proposals; for denoising times its groups."""
    prediction, targets = random_prediction(), random_targets([here, 0])
    if parts == "all":
        proposals, noised = random_prediction(layers=1), noised_slots(targets)
        prediction = replace(prediction, proposals=proposals, denoised=(random_slots(noised), noised))
    alone = criterion()(prediction, targets)
    reduced = []

    def all_reduce(tensor):
        reduced.append(tensor.item())
        tensor += elsewhere

    monkeypatch.setattr(comm, "get_world_size", lambda: world)
    monkeypatch.setattr(torch.distributed, "all_reduce", all_reduce)
    together = criterion()(prediction, targets)
    assert reduced == [here]
    ratio = max(here, 1) / max((here + elsewhere) / world, 1)
    for name, loss in alone.items():
        torch.testing.assert_close(together[name], loss * ratio)


def test_normaliser_of_a_single_process_asks_nobody(monkeypatch):
    monkeypatch.delattr(torch.distributed, "all_reduce")
    assert criterion().num_boxes(random_targets([3, 4])) == 7
    assert criterion().num_boxes(random_targets([0, 0])) == 1


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
    assert latest == {"class_error": pytest.approx(25.0), "cardinality_error": pytest.approx(1.5)}
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


def test_softmax_loss_is_over_all_queries_and_knows_no_normaliser():
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
        targets = [Target(torch.zeros_like(labels), boxes) for labels, boxes in targets]
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


GROUPS = 3


def noised_slots(targets: list[Target]) -> Noised:
    """As `Denoising` lays them out: group by group, in each as many slots as the image with most objects needs."""
    single = max(len(target.labels) for target in targets)
    valid = torch.zeros(len(targets), GROUPS, single, dtype=torch.bool)
    labels, boxes = valid.long(), torch.zeros(*valid.shape, 4)
    for b, target in enumerate(targets):
        n = len(target.labels)
        valid[b, :, :n], labels[b, :, :n], boxes[b, :, :n] = True, target.labels, target.boxes
    return Noised(valid.flatten(1), labels.flatten(1), boxes.flatten(1, 2), groups=GROUPS)


def random_slots(noised: Noised, layers: int = 2) -> Prediction:
    return random_prediction(layers, *noised.valid.shape, seed=9)


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
    normaliser = GROUPS * max(sum(counts), 1)
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
            torch.testing.assert_close(losses[f"{name}_dn{suffix}"], WEIGHTS[name] * total / normaliser)


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
