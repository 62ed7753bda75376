"""Denoising in whole models: nothing of it reaches the matching queries, groups are apart, and everything learns."""

import pytest
import torch
from detectron2.config import instantiate

from dab_detr.modeling.denoising import Denoising
from dab_detr.modeling.structures import Target
from dab_detr.models import anchor_detr, dab_deformable_detr, dab_detr
from samples import random_boxes, random_targets, worst
from tiny import shrink, tell_apart

K = 5


MEMBERS = {
    "dab_detr": lambda: dab_detr(),
    "dab_detr, patterns": lambda: dab_detr(num_patterns=3),
    "dab_detr, points": lambda: with_points(dab_detr()),
    "anchor_detr": lambda: anchor_detr(),
    "dab_deformable_detr": lambda: dab_deformable_detr(),
    "dab_deformable_detr, own channel": lambda: with_own_channel(dab_deformable_detr()),
    "dab_deformable_detr, two-stage": lambda: dab_deformable_detr(two_stage=True),
}


def with_points(node):
    node.queries.anchor_dim = 2
    return node


def with_own_channel(node):
    node.queries.dim = 255
    return node


@pytest.fixture(scope="module", params=MEMBERS)
def member(request):
    """A small model with denoising, in float64, and feature maps of two images, of which one is padded."""
    node = shrink(MEMBERS[request.param]())
    node.denoising.groups, node.num_classes = 3, K
    model = tell_apart(instantiate(node)).double()
    padding = torch.zeros(2, 128, 128, dtype=torch.bool)
    padding[1, 96:], padding[1, :, 64:] = True, True
    generator = torch.Generator().manual_seed(0)
    features = {
        name: torch.randn(2, x.channels, 128 // x.stride, 128 // x.stride, dtype=torch.float64, generator=generator)
        for name, x in model.backbone.output_shape().items()
    }
    return model, features, padding


def objects(counts: tuple[int, int]) -> list[Target]:
    return [x._replace(boxes=x.boxes.double()) for x in random_targets(counts, classes=K)]


@torch.no_grad()
@pytest.mark.parametrize("counts", [(2, 3), (0, 3), (0, 0)])
def test_matching_queries_answer_as_without_noised_ones(member, counts):
    model, features, padding = member
    alone = model.detect(features, padding)
    beside = model.detect(features, padding, objects(counts))
    assert beside.denoised[0].logits.shape[2] == 3 * max(counts)
    assert worst(alone.logits, beside.logits) < 1e-12 and worst(alone.boxes, beside.boxes) < 1e-12
    assert alone.logits.std(2).min() > 1e-3  # queries differ


@torch.no_grad()
def test_groups_do_not_reach_each_other(member, monkeypatch):
    """Other noise in the last group changes its own answers, and no other."""
    model, features, padding = member
    torch.manual_seed(1)
    labels, boxes = model.denoising.noise(torch.arange(12) % K, random_boxes(12).double(), torch.rand(12, 6), None)
    answers = []
    for shift in (0.0, 0.05):
        boxes = boxes.clone()
        boxes.view(2, 3, 2, 4)[:, -1] += shift
        monkeypatch.setattr(model.denoising, "noise", lambda *_, boxes=boxes: (labels, boxes))
        answers.append(model.detect(features, padding, objects((2, 2))).denoised[0])
    changed = (
        (answers[0].boxes - answers[1].boxes).abs().amax((0, 1, 3)),
        (answers[0].logits - answers[1].logits).abs().amax((0, 1, 3)),
    )
    for change in changed:
        assert (change[:4] == 0).all() and (change[4:] > 1e-6).all()


def test_a_batch_without_objects_trains_the_embedding_and_nothing_of_denoising_costs(member):
    model, features, padding = member
    model.zero_grad()
    prediction = model.detect(features, padding, objects((0, 0)))
    losses = model.criterion(prediction, objects((0, 0)))
    denoised = {name: loss for name, loss in losses.items() if "_dn" in name}
    assert len(denoised) == 6 and all(loss == 0 for loss in denoised.values())
    sum(losses.values()).backward()
    gradient = model.denoising.labels.grad
    assert (gradient[:-1] == 0).all()
    assert (gradient[-1] != 0).any() == (not model.denoising.missing)  # learned content needs no label


def test_training_reaches_every_parameter(member):
    model, features, padding = member
    model.zero_grad()
    targets = objects((2, 3))
    sum(model.criterion(model.detect(features, padding, targets), targets).values()).backward()
    without = [name for name, p in model.named_parameters() if p.grad is None and not name.startswith("backbone.")]
    assert not without
    assert model.denoising.labels.grad.abs().sum() > 0


def test_patterns_are_those_of_the_matching_queries_only(monkeypatch):
    monkeypatch.setattr(Denoising, "noise", lambda self, labels, boxes, draws, positive: (labels, boxes))
    node = shrink(dab_detr(num_patterns=3))
    node.denoising.groups, node.num_classes = 2, K
    model = tell_apart(instantiate(node))
    (target,) = random_targets([1], classes=K)
    memory = model.neck({"res5": torch.randn(1, 32, 2, 2)}, torch.zeros(1, 64, 64, dtype=torch.bool))
    queries = model.denoising(model.queries(memory), [target])
    assert queries.content.shape[1] == 2 + 3 * 10
    noised, others = queries.content[0, :2], queries.content[0, 2:]
    assert torch.equal(noised[:, :-1], model.denoising.labels[target.labels].expand(2, -1))
    no_label = torch.cat([model.denoising.labels[-1], torch.zeros(1)])
    assert worst(others, model.queries.patterns.repeat_interleave(10, 0) + no_label) < 1e-6
