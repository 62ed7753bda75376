"""Contrastive denoising: positive and negative copies, slots, visibility, and inference."""

import pytest
import torch
from torchvision.ops import box_convert

from dab_detr.modeling.denoising import ContrastiveDenoising
from dab_detr.modeling.structures import Queries
from samples import random_boxes, random_targets

C, Q, K = 8, 3, 5
DRAWS = 20_000


def matching(images: int = 2, columns: int = 4, dim: int = C) -> Queries:
    return Queries(torch.randn(images, Q, dim), random_boxes(images, Q, seed=7)[..., :columns])


def contrastive(**options) -> ContrastiveDenoising:
    return ContrastiveDenoising(**{"dim": C, "anchor_dim": 4, "num_classes": K, "num_queries": 12} | options)


@pytest.mark.parametrize("scale", [0.4, 1.0])
def test_corners_of_positive_copies_stay_near_and_those_of_negative_ones_do_not(scale):
    """Within half a side, and between a half and a whole; each of the four evenly, and to both sides."""
    box = torch.tensor([0.5, 0.5, 0.2, 0.1])
    draws, positive = torch.rand(DRAWS, 6), torch.arange(DRAWS) % 2 == 0
    _, boxes = contrastive(box_noise=scale).noise(torch.zeros(DRAWS).long(), box.expand(DRAWS, 4), draws, positive)
    corners = box_convert(boxes, "cxcywh", "xyxy") - box_convert(box, "cxcywh", "xyxy")
    shift = corners / (scale * torch.tensor([0.1, 0.05, 0.1, 0.05]))
    near, far = shift[positive], shift[~positive]
    assert near.abs().max() <= 1 + 1e-5 and far.abs().min() >= 1 - 1e-5 and far.abs().max() <= 2 + 1e-5
    for part in (near, far - far.sign()):
        even = torch.linspace(-1, 1, len(part))[:, None]
        assert (part.sort(0).values - even).abs().max() < 0.05
        assert (torch.corrcoef(part.T) - torch.eye(4)).abs().max() < 0.06
    assert (boxes[~positive, 2:] < 0).any() == (scale == 1.0)  # corners that crossed stay so
    assert (boxes[positive, 2:] >= -1e-6).all()


def test_corners_stay_in_the_image():
    _, boxes = contrastive(box_noise=5.0).noise(
        torch.zeros(1000).long(),
        torch.tensor([0.1, 0.9, 0.2, 0.2]).expand(1000, 4),
        torch.rand(1000, 6),
        torch.ones(1000).bool(),
    )
    corners = box_convert(boxes, "cxcywh", "xyxy")
    assert corners.min() > -1e-6 and corners.max() < 1 + 1e-6


@pytest.mark.parametrize("negative", [False, True])
def test_a_quarter_of_the_labels_is_replaced_whatever_the_copy(negative):
    positive = torch.full((DRAWS,), not negative)
    labels, _ = contrastive().noise(torch.full((DRAWS,), 2), torch.rand(DRAWS, 4), torch.rand(DRAWS, 6), positive)
    assert (labels != 2).float().mean().item() == pytest.approx(0.25 * (K - 1) / K, abs=0.015)


@pytest.mark.parametrize(
    "counts, groups", [((2, 3), (6, 4)), ((0, 5), (12, 2)), ((20, 1), (1, 12)), ((0, 0), (12, 12))]
)
@pytest.mark.parametrize("of_batch", [False, True])
def test_groups_and_slots_of_contrastive_denoising(counts, groups, of_batch):
    """Each image's own, or those of the image with the most objects; a group's positives come before its negatives."""
    targets, module = random_targets(counts, classes=K), contrastive(groups_of_batch=of_batch, label_noise=0.0)
    answer = module(matching(2), targets)
    noised, room = answer.noised, [max(counts)] * 2 if of_batch else counts
    groups = [max(1, 12 // max(1, max(counts)))] * 2 if of_batch else groups
    assert noised.weight.shape[1] == max(2 * g * n for g, n in zip(groups, room, strict=True))
    for b, (labels, boxes, _) in enumerate(targets):
        valid = set()
        for group in range(groups[b]):
            for copy in range(2):
                for i in range(counts[b]):
                    slot = (2 * group + copy) * room[b] + i
                    valid.add(slot)
                    assert noised.positive[b, slot] == (copy == 0)
                    assert noised.labels[b, slot] == labels[i] and torch.equal(noised.boxes[b, slot], boxes[i])
                    assert torch.equal(answer.content[b, slot], module.labels[labels[i]])
        assert set(noised.valid[b].nonzero().flatten().tolist()) == valid
        assert (noised.weight[b, noised.valid[b]] == 1 / groups[b]).all()
        blocked = answer.blocked[b, 0]
        for slot in valid:
            group = slot // (2 * room[b])
            seen = {x for x in valid if x // (2 * room[b]) == group} | set(range(len(blocked) - Q, len(blocked)))
            assert set((~blocked[slot]).nonzero().flatten().tolist()) == seen
        assert blocked[-Q:, :-Q].all() and not blocked[-Q:, -Q:].any()


def test_an_image_has_the_same_contrastive_noise_whatever_the_batch():
    few, many = (target._replace(seed=7 + i) for i, target in enumerate(random_targets([2, 5], classes=K)))
    module = contrastive()
    alone, beside = module(matching(1), [few]), module(matching(2), [many, few])
    slots = alone.noised.weight.shape[1]
    assert torch.equal(alone.anchors[0, :slots], beside.anchors[1, :slots])
    assert torch.equal(alone.content[0, :slots], beside.content[1, :slots])
    assert torch.equal(alone.noised.weight[0], beside.noised.weight[1, :slots])


def test_at_inference_contrastive_denoising_changes_nothing():
    queries = matching()
    assert contrastive()(queries, None) is queries


def test_the_originals_reading_of_empty_slots_needs_the_originals_groups():
    with pytest.raises(ValueError, match=r"model\.denoising\.see_padding needs groups_of_batch"):
        contrastive(see_padding=True)
    answer = contrastive(see_padding=True, groups_of_batch=True)(matching(2), random_targets([1, 3], classes=K))
    assert answer.noised.valid.all() and answer.noised.positive.sum(1).tolist() == [4, 12]
