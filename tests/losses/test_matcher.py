"""Matching: the cost of a pair, and assignments that are optimal, per image and layer, whatever the input."""

from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import box_convert, generalized_box_iou_loss

from dab_detr.losses.classification import FocalLoss
from dab_detr.losses.matcher import HungarianMatcher
from dab_detr.modeling.structures import Matches, Prediction, Target
from samples import random_prediction, random_targets, worst

MANY = settings(max_examples=40, deadline=None)
SEEDS = st.integers(0, 2**31)
COUNTS = st.lists(st.integers(0, 4), min_size=1, max_size=3)


def matcher(**options) -> HungarianMatcher:
    return HungarianMatcher(classification=FocalLoss(), **options)


def pairs_of(matches: Matches, targets: list[Target], layers: int) -> dict[tuple[int, int], set]:
    """{(layer, image): {(query, object of that image)}}"""
    offsets = [sum(len(t.labels) for t in targets[:i]) for i in range(len(targets) + 1)]
    pairs = {(layer, image): set() for layer in range(layers) for image in range(len(targets))}
    for layer, image, query, match in zip(*matches.query, matches.object, strict=True):
        found = int(match) - offsets[image]
        assert 0 <= found < offsets[image + 1] - offsets[image]  # neither padding nor another image's
        pairs[int(layer), int(image)].add((int(query), found))
    return pairs


def cheapest(cost: torch.Tensor) -> float:
    """The least total cost (Q, N) of min(Q, N) pairs, by trying all."""
    cost = cost if cost.shape[0] >= cost.shape[1] else cost.T
    rows, columns = cost.shape
    return min(sum(cost[q, n].item() for n, q in enumerate(p)) for p in permutations(range(rows), columns))


@MANY
@given(COUNTS, st.integers(1, 4), SEEDS)
def test_assignment_is_one_to_one_and_costs_least(counts, queries, seed):
    """More objects than queries, images without objects and batches without any among them."""
    prediction = random_prediction(images=len(counts), queries=queries, seed=seed)
    targets = random_targets(counts, seed=seed)
    hungarian = matcher()
    cost = hungarian.cost(prediction, targets)
    pairs = pairs_of(hungarian(prediction, targets), targets, layers=2)
    for (layer, image), found in pairs.items():
        least = min(queries, counts[image])
        assert len(found) == len({q for q, _ in found}) == len({n for _, n in found}) == least
        total = sum(cost[layer, image, q, n].item() for q, n in found)
        assert total == pytest.approx(cheapest(cost[layer, image, :, : counts[image]]), abs=1e-5)


@pytest.mark.parametrize("weights", [(2, 5, 2), (1, 0, 0), (0, 1, 0), (0, 0, 1)])
def test_cost_of_every_pair_is_the_formula(weights):
    prediction, targets = random_prediction(images=3), random_targets([3, 0, 2])
    cost_class, cost_bbox, cost_giou = weights
    hungarian = matcher(cost_class=cost_class, cost_bbox=cost_bbox, cost_giou=cost_giou, eps=1e-2)
    cost = hungarian.cost(prediction, targets)
    assert cost.shape == (2, 3, 5, 3)
    for layer in range(2):
        for image, (labels, boxes, _) in enumerate(targets):
            for query in range(5):
                for n, label in enumerate(labels):
                    p = prediction.logits[layer, image, query, label].sigmoid()
                    classes = 0.25 * (1 - p) ** 2 * -(p + 1e-8).log() - 0.75 * p**2 * -(1 - p + 1e-8).log()
                    box = prediction.boxes[layer, image, query]
                    corners = (box_convert(x, "cxcywh", "xyxy") for x in (box, boxes[n]))
                    overlap = 1 - generalized_box_iou_loss(*corners, eps=1e-2)
                    distance = (box - boxes[n]).abs().sum()
                    expected = cost_class * classes + cost_bbox * distance - cost_giou * overlap
                    assert cost[layer, image, query, n].item() == pytest.approx(expected.item(), abs=1e-5)


def test_defaults_are_those_of_dab_detr():
    prediction, targets = random_prediction(), random_targets([2, 3])
    explicit = matcher(cost_class=2.0, cost_bbox=5.0, cost_giou=2.0, eps=1e-6)
    assert torch.equal(matcher().cost(prediction, targets), explicit.cost(prediction, targets))


@MANY
@given(SEEDS)
def test_order_of_objects_and_queries_only_permutes(seed):
    prediction, targets = random_prediction(images=1, queries=6, seed=seed), random_targets([4], seed=seed)
    plain = pairs_of(matcher()(prediction, targets), targets, 2)
    generator = torch.Generator().manual_seed(seed)
    q, n = torch.randperm(6, generator=generator), torch.randperm(4, generator=generator)
    shuffled = Prediction(prediction.logits[:, :, q], prediction.boxes[:, :, q])
    shuffled_targets = [Target(targets[0].labels[n], targets[0].boxes[n])]
    for key, found in pairs_of(matcher()(shuffled, shuffled_targets), shuffled_targets, 2).items():
        assert {(int(q[query]), int(n[match])) for query, match in found} == plain[key]


@MANY
@given(COUNTS, SEEDS)
def test_layers_and_images_at_once_equal_one_by_one(counts, seed):
    prediction = random_prediction(layers=3, images=len(counts), seed=seed)
    targets = random_targets(counts, seed=seed)
    together = pairs_of(matcher()(prediction, targets), targets, 3)
    for layer, image in together:
        alone = Prediction(prediction.logits[layer, image][None, None], prediction.boxes[layer, image][None, None])
        assert pairs_of(matcher()(alone, [targets[image]]), [targets[image]], 1)[0, 0] == together[layer, image]


def test_pairs_come_in_order_of_layer_and_image():
    matches = matcher()(random_prediction(layers=3, images=3), random_targets([2, 0, 9]))
    order = list(zip(matches.query[0].tolist(), matches.query[1].tolist(), strict=True))
    assert order == [(layer, image) for layer in range(3) for image in (0, 0, 2, 2, 2, 2, 2)]


def test_batch_without_objects():
    prediction = random_prediction()
    matches = matcher()(prediction, random_targets([0, 0]))
    for index in (*matches.query, matches.object):
        assert index.shape == (0,) and index.dtype == torch.int64
    assert prediction.logits[matches.query].shape == (0, 4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("where", ["logits", "boxes", "both"])
def test_predictions_that_are_not_finite_do_not_raise(bad, where):
    plain, targets = random_prediction(), random_targets([3, 2])
    logits, boxes = plain.logits.clone(), plain.boxes.clone()
    for tensor in {"logits": [logits], "boxes": [boxes], "both": [logits, boxes]}[where]:
        tensor[0] = bad
    pairs = pairs_of(matcher()(Prediction(logits, boxes), targets), targets, 2)
    assert [len(found) for found in pairs.values()] == [3, 2, 3, 2]
    finite = pairs_of(matcher()(plain, targets), targets, 2)
    assert all(pairs[1, image] == finite[1, image] for image in (0, 1))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_query_that_is_not_finite_is_matched_last(bad):
    prediction, targets = random_prediction(layers=1, images=1, queries=5), random_targets([4])
    prediction.boxes[0, 0, 2] = bad
    matches = matcher()(prediction, targets)
    assert sorted(matches.query[2].tolist()) == [0, 1, 3, 4]


class Costly(FocalLoss):
    """A classification whose query 2 costs `cost`."""

    def __init__(self, cost: float):
        super().__init__()
        self.of_query_2 = cost

    def cost(self, logits, labels):
        cost = super().cost(logits, labels)
        cost[:, :, 2] = self.of_query_2
        return cost


@pytest.mark.parametrize("cost", [float("nan"), float("inf"), float("-inf")])
def test_a_cost_that_is_not_finite_counts_as_too_high(cost):
    prediction, targets = random_prediction(layers=1, images=1, queries=5), random_targets([4])
    matches = HungarianMatcher(classification=Costly(cost))(prediction, targets)
    assert sorted(matches.query[2].tolist()) == [0, 1, 3, 4]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_predictions_are_costed_in_fp32(dtype):
    plain, targets = random_prediction(), random_targets([3, 2])
    rounded = Prediction(plain.logits.to(dtype), plain.boxes.to(dtype))
    cost = matcher().cost(rounded, targets)
    assert cost.dtype == torch.float32
    assert worst(cost, matcher().cost(Prediction(rounded.logits.float(), rounded.boxes.float()), targets)) == 0


def test_matching_asks_for_no_gradient():
    plain = random_prediction()
    prediction = Prediction(plain.logits.requires_grad_(), plain.boxes.requires_grad_())
    matches = matcher()(prediction, random_targets([3, 2]))
    assert len(matches.object) == 2 * 5
