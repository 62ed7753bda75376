"""Collaborative training: what heads and their queries teach does not depend on the batch, and nothing of it is left
at inference."""

import math
from functools import partial
from types import SimpleNamespace

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import LazyCall, instantiate
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from dab_detr.losses.batch import EffectiveBatch
from dab_detr.losses.classification import QualityFocalLoss
from dab_detr.modeling.collaboration import Collaboration, SampleEncoding, in_slots
from dab_detr.modeling.structures import Samples, Scene, Target
from dab_detr.models import MODELS, dab_deformable_detr, dab_detr, deformable_detr, dino
from samples import random_input, random_targets, train, worst
from tiny import shrink, tell_apart, with_heads

K = 5
HEADS = ["rcnn", "atss"]
MEMBERS = sorted(set(MODELS) - {"detr"})


def co_dino():
    node = dino(shared_heads=False)
    node.criterion.update(classification=LazyCall(QualityFocalLoss)(), eps=0.0)
    return node


CO = {"co_dab_detr": dab_detr, "co_deformable_detr": partial(deformable_detr, mixed=True), "co_dino": co_dino}


def built(node, heads=HEADS, **options):
    node = with_heads(shrink(node), heads)
    node.num_classes = K
    node.collaboration.update(options)
    return tell_apart(instantiate(node))


def targets_of(counts, seeds=range(100)) -> list[Target]:
    return [
        x._replace(boxes=x.boxes.double(), seed=seed) for x, seed in zip(random_targets(counts, K), seeds, strict=False)
    ]


def features_of(model, images: int, side: int = 128) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {
        name: torch.randn(images, x.channels, side // x.stride, side // x.stride, generator=generator).double()
        for name, x in model.backbone.output_shape().items()
    }


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("objects", [(0, 3), (0, 0)])
def test_every_parameter_has_a_gradient_whatever_the_batch(name, objects):
    """One without would stop the training in several processes, which wait for it."""
    model = built(MODELS[name]())
    sizes = ((96, 128), (64, 160))
    inputs = [random_input(*size, objects=n) for size, n in zip(sizes, objects, strict=True)]
    for x in inputs:
        x["instances"].gt_classes %= K
    losses = train(model, inputs)
    assert all(loss.shape == () and loss.isfinite() for loss in losses.values())
    assert {"loss_rpn_class", "loss_rcnn_box", "loss_atss_centerness", "loss_ce_rcnn", "loss_giou_atss_0"} <= set(
        losses
    )
    for parameter_name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), parameter_name


def gradients(model, parts, counts, processes=1) -> list[torch.Tensor]:
    """Of the losses of an effective batch that comes in parts, each (features, padding, targets)."""
    model.zero_grad()
    batch = EffectiveBatch(torch.tensor(counts), processes)
    for features, padding, targets in parts:
        losses = model.criterion(model.detect(features, padding, targets), targets, batch)
        (sum(losses.values()) / processes).backward()
    return [p.grad.clone() for name, p in model.named_parameters() if p.grad is not None]


@pytest.mark.parametrize("heads", [["atss"], HEADS])
@pytest.mark.parametrize("name", CO)
def test_a_batch_of_four_teaches_what_two_of_two_do(name, heads):
    """In two micro-batches (summed) and two processes (averaged), one of which has no objects."""
    model, counts = built(CO[name](), heads).double(), [3, 4, 0, 0]
    features, targets = features_of(model, 4, side=64), targets_of(counts)
    padding = torch.zeros(4, 64, 64, dtype=torch.bool)
    whole = gradients(model, [(features, padding, targets)], counts)
    halves = [
        ({name: x[i : i + 2] for name, x in features.items()}, padding[i : i + 2], targets[i : i + 2]) for i in (0, 2)
    ]
    largest = max(x.abs().max() for x in whole)
    for processes in (1, 2):
        cut = gradients(model, halves, counts, processes)
        assert max(worst(a, b) for a, b in zip(whole, cut, strict=True)) < 1e-9 * largest


@pytest.mark.parametrize("heads, counts", [(["atss"], [3, 0]), (HEADS, [3, 4]), (HEADS, [0, 2])])
@pytest.mark.parametrize("name", CO)
def test_an_image_alone_teaches_and_finds_what_it_does_in_a_padded_batch(name, heads, counts):
    """Every loss of the batch is the sum of its images' losses, those of denoising and of all heads included."""
    node = CO[name]()
    if "exact_padding" in node.neck:
        node.neck.exact_padding = True
    model = built(node, heads).double()
    features, padding = features_of(model, 2), torch.zeros(2, 128, 128, dtype=torch.bool)
    padding[1, 96:], padding[1, :, 64:] = True, True
    targets, batch = targets_of(counts), EffectiveBatch(torch.tensor(counts))
    cut = {name: x[1:, :, : x.shape[2] * 3 // 4, : x.shape[3] // 2] for name, x in features.items()}
    parts = [({name: x[:1] for name, x in features.items()}, padding[:1]), (cut, padding[1:, :96, :64])]
    together = model.detect(features, padding, targets)
    alone = [model.detect(*part, targets[i : i + 1]) for i, part in enumerate(parts)]
    losses = model.criterion(together, targets, batch)
    single = [model.criterion(x, targets[i : i + 1], batch) for i, x in enumerate(alone)]
    assert {name.split("_")[1] for name in losses} >= {"ce", "atss"} | ({"rcnn"} if "rcnn" in heads else set())
    for key, loss in losses.items():
        assert (loss - sum(x[key] for x in single)).abs() < 1e-9 * max(1.0, loss.item()), key
    for i, x in enumerate(alone):
        assert worst(together.logits[:, i], x.logits[:, 0]) < 1e-9
        assert worst(together.boxes[:, i], x.boxes[:, 0]) < 1e-9


@torch.no_grad()
def test_images_of_one_size_pass_through_the_heads_together():
    """The first and the last one here; each keeps its own losses."""
    model, groups = built(dab_detr()).double(), []
    for head in model.collaboration.heads.values():
        head.register_forward_hook(lambda _, inputs, __: groups.append(len(inputs[2])))
    features, targets = features_of(model, 3), targets_of([3, 4, 2])
    padding = torch.zeros(3, 128, 128, dtype=torch.bool)
    padding[1, 64:] = True
    together = model.detect(features, padding, targets).heads
    assert groups == [2, 1, 2, 1]
    for i in range(3):
        alone = {name: x[i : i + 1] for name, x in features.items()}, padding[i : i + 1], targets[i : i + 1]
        for a, b in zip(together, model.detect(*alone).heads, strict=True):
            assert all(a.losses[name][i].item() == pytest.approx(b.losses[name].item()) for name in a.losses)


def test_queries_know_the_object_of_their_sample():
    model = built(dab_detr()).double()
    targets = targets_of([3, 0])
    prediction = model.detect(features_of(model, 2), torch.zeros(2, 128, 128, dtype=torch.bool), targets)
    for head in prediction.heads:
        _, truth = head.positives
        assert truth.positive[0].any() and not truth.valid[1].any()
        assert torch.equal(truth.positive, truth.valid)
        for box, label in zip(truth.boxes[0, truth.valid[0]], truth.labels[0, truth.valid[0]], strict=True):
            same = (targets[0].boxes == box).all(1)
            assert label in targets[0].labels[same]
        # the image's objects together, each query at most one
        assert truth.weight[0].sum() <= 3 + 1e-9 and truth.weight.max() <= 1
    assert torch.equal(prediction.logits, model.detect(features_of(model, 2), torch.zeros(2, 128, 128).bool()).logits)


def bare(**options) -> Collaboration:
    return Collaboration(heads=[], pyramid=nn.Identity(), dim=16, stride=8, weight=2.0, **options)


def samples_of(objects: list[int], **losses) -> Samples:
    numbers = torch.arange(len(objects) * 4).view(-1, 4).double()
    losses = {name: tuple(map(torch.tensor, pair)) for name, pair in losses.items()}
    return Samples(losses=losses, boxes=numbers, objects=torch.tensor(objects, dtype=torch.long), features=numbers)


ROWS = st.lists(st.integers(-1, 3), min_size=1, max_size=30)


@given(st.lists(ROWS, min_size=1, max_size=3), st.sampled_from([1, 4, 12, 300]))
def test_in_the_original_images_are_filled_up_with_background(rows, most):
    """By the rule as it is written down: 9 or more, at most `most`, positive samples first, nothing beyond the samples
    that all images have."""
    scenes = [Scene((8, 8), torch.zeros(0), torch.zeros(0, 4), seed=i) for i in range(len(rows))]
    chosen = bare(as_original=True, most=most).chosen([samples_of(x) for x in rows], scenes)
    shared = min(map(len, rows))
    found = [[i for i in range(shared) if x[i] >= 0] for x in rows]
    number = max(9, min(most, max(map(len, found))))
    for x, positive, index in zip(rows, found, chosen, strict=True):
        index, kept = index.tolist(), min(len(positive), number)
        assert len(index) == len(set(index)) == min(number, kept + shared - len(positive))
        assert set(index[:kept]) <= set(positive) and all(i < shared and x[i] < 0 for i in index[kept:])


@given(st.lists(ROWS, min_size=1, max_size=3), st.sampled_from([1, 4, 300]))
def test_all_positive_samples_become_queries_and_no_others(rows, most):
    scenes = [Scene((8, 8), torch.zeros(0), torch.zeros(0, 4), seed=i) for i in range(len(rows))]
    chosen = bare(most=most).chosen([samples_of(x) for x in rows], scenes)
    for x, index, scene in zip(rows, chosen, scenes, strict=True):
        positive = [i for i, object in enumerate(x) if object >= 0]
        assert len(index) == min(most, len(positive)) and set(index.tolist()) <= set(positive)
        (alone,) = bare(most=most).chosen([samples_of(x)], [scene])
        assert torch.equal(alone, index)


IMAGES = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9), st.floats(0, 10)), min_size=1, max_size=4)


@given(IMAGES, st.sampled_from(["objects", "images"]), st.booleans())
def test_losses_are_divided_by_the_samples_of_the_batch_in_the_original_and_by_those_of_an_image_here(
    images, shared_by, as_original
):
    """By hand, from the objects, the samples and the summed loss of each image."""
    targets = targets_of([n for n, _, _ in images])
    samples = [samples_of([], loss_x=(loss, count)) for _, count, loss in images]
    head = SimpleNamespace(shared_by=shared_by)
    losses = bare(as_original=as_original).losses(head, samples, targets)
    divisor = max(1, sum(n for n, _, _ in images)) if shared_by == "objects" else len(images)
    found = losses["loss_x"].sum().item() / divisor
    if as_original:
        expected = sum(loss for _, _, loss in images) / max(1, sum(count for _, count, _ in images))
    else:
        shares = [max(1, n) if shared_by == "objects" else 1 for n, _, _ in images]
        rows = zip(images, shares, strict=True)
        expected = sum(loss * n / max(n, count) for (_, count, loss), n in rows) / divisor
    assert found == pytest.approx(2 * expected, rel=1e-5)


@pytest.mark.parametrize("learned_positions", [False, True])
@pytest.mark.parametrize("see_features", [False, True])
def test_content_and_position_of_queries_by_their_formula(learned_positions, see_features):
    """Sines of x, y, w and h in this order, through a linear layer and a norm; features are added to the content."""
    part = SampleEncoding(dim=16, learned_positions=learned_positions, see_features=see_features).double()
    boxes, features = torch.rand(1, 3, 4).double(), torch.randn(1, 3, 16).double()
    content, embed = part(boxes, features)
    channel = torch.arange(8).double()
    angles = boxes[..., None] * 2 * math.pi / 10000 ** (2 * (channel // 2) / 8)
    sine = torch.where(channel % 2 == 0, angles.sin(), angles.cos()).flatten(2)
    linear, norm = part.box
    both = F.layer_norm(sine @ linear.weight.T + linear.bias, [len(linear.bias)], norm.weight, norm.bias)
    assert both.shape[-1] == (32 if learned_positions else 16)
    expected = both[..., -16:]
    if see_features:
        linear, norm = part.feature
        expected = expected + F.layer_norm(features @ linear.weight.T + linear.bias, [16], norm.weight, norm.bias)
    assert worst(content, expected) < 1e-9
    assert embed is None if not learned_positions else worst(embed, both[..., :16]) < 1e-9


@torch.no_grad()
def test_nothing_of_it_is_left_without_heads():
    with_heads, without = built(dab_detr()), built(dab_detr(), [])
    assert without.collaboration is None
    assert not [key for key in without.state_dict() if key.startswith("collaboration.")]
    kept = {key: x for key, x in with_heads.state_dict().items() if not key.startswith("collaboration.")}
    without.load_state_dict(kept)
    image = [random_input()]
    answers = [model.eval()(image)[0]["instances"] for model in (with_heads, without)]
    assert torch.equal(answers[0].pred_boxes.tensor, answers[1].pred_boxes.tensor)


def test_the_published_heads_have_as_many_parameters_as_mmdetection():
    node = dab_deformable_detr().collaboration
    node.update(heads=HEADS, dim=256, num_classes=80, num_levels=4, anchor_dim=4, num_layers=6)
    rcnn, atss = instantiate(node).heads.values()
    assert sum(p.numel() for p in atss.parameters()) == 1_376_602
    assert sum(p.numel() for p in rcnn.rpn.parameters()) == 601_645
    assert sum(p.numel() for part in (rcnn.box_head, rcnn.predictor) for p in part.parameters()) == 14_306_705


@pytest.mark.parametrize(
    "change, message",
    [
        ({"heads": ["fcos"]}, r"model.collaboration.heads may have \['rcnn', 'atss'\], got \['fcos'\]"),
        ({"stride": 16}, "model.collaboration.stride=16, but 'res5' of model.backbone has stride 32"),
        ({"finer": 6}, "model.collaboration.finer=6"),
        ({"num_levels": 2}, "model.collaboration.num_levels must be that of model.neck, 1"),
        ({"learned_positions": True}, "set model.collaboration.learned_positions=False"),
        ({"anchor_dim": 0}, "needs model.queries with anchors"),
    ],
)
def test_what_does_not_fit_stops_at_construction(change, message):
    with pytest.raises(ValueError, match=message):
        built(dab_detr(), **{"heads": ["atss"]} | change)


def test_slots():
    rows = [torch.ones(2, 3), torch.ones(0, 3)]
    assert in_slots(rows).tolist() == [[[1.0] * 3] * 2, [[0.0] * 3] * 2]
    assert in_slots([x[:0] for x in rows]).shape == (2, 1, 3)
