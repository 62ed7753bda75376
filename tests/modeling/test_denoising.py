"""Denoising: the amount of noise, slots, visibility, and inference."""

import pytest
import torch

from dab_detr.modeling.denoising import ContrastiveDenoising, Denoising, NoDenoising, draws_for
from dab_detr.modeling.structures import MATCHING, Queries, Target, blocked_between
from samples import random_boxes, random_targets, worst

C, Q, K, GROUPS = 8, 3, 5, 4


def part(**options) -> Denoising:
    return Denoising(**{"dim": C, "content_dim": C, "anchor_dim": 4, "num_classes": K, "groups": GROUPS} | options)


def matching(images: int = 2, columns: int = 4, dim: int = C) -> Queries:
    return Queries(torch.randn(images, Q, dim), random_boxes(images, Q, seed=7)[..., :columns])


DRAWS = 20_000


def noised(labels: torch.Tensor, boxes: torch.Tensor, **options) -> tuple[torch.Tensor, torch.Tensor]:
    return part(**options).noise(labels, boxes, draws_for([Target(labels, boxes)], groups=[1]), None)


def noised_labels(label: int = 2, **options) -> torch.Tensor:
    return noised(torch.full((DRAWS,), label), torch.full((DRAWS, 4), 0.5), **options)[0]


@pytest.mark.parametrize("probability", [0.2, 0.5])
def test_labels_are_replaced_with_their_probability_by_any_class(probability):
    counts = torch.bincount(noised_labels(label_noise=probability), minlength=K).double() / DRAWS
    expected = torch.full((K,), probability / K, dtype=torch.float64)
    expected[2] += 1 - probability  # the true class stays, or comes back by chance
    assert (counts - expected).abs().max() < 0.015
    assert len(counts) == K  # never "no label"


def test_without_noise_labels_and_boxes_stay():
    labels, boxes = torch.arange(K), random_boxes(K)
    same = noised(labels, boxes, label_noise=0.0, box_noise=0.0)
    assert torch.equal(same[0], labels) and torch.equal(same[1], boxes)
    changed = noised_labels(label_noise=1.0) != 2
    assert changed.float().mean().item() == pytest.approx(1 - 1 / K, abs=0.015)


@pytest.mark.parametrize("scale", [0.4, 1.0])
def test_boxes_move_and_grow_evenly_within_their_bounds(scale):
    """Centres by up to `scale` half sides, sides by up to `scale` sides; every number on its own."""
    box = torch.tensor([0.5, 0.4, 0.3, 0.2])
    _, boxes = noised(torch.zeros(DRAWS).long(), box.expand(DRAWS, 4), box_noise=scale)
    shift = (boxes - box) / (scale * torch.tensor([0.15, 0.1, 0.3, 0.2]))
    assert shift.abs().max() <= 1 + 1e-5
    even = torch.linspace(-1, 1, DRAWS)[:, None]
    assert (shift.sort(0).values - even).abs().max() < 0.04  # Kolmogorov-Smirnov distance
    correlation = torch.corrcoef(shift.T) - torch.eye(4)
    assert correlation.abs().max() < 0.05


def test_noised_boxes_stay_in_the_image():
    box = torch.tensor([0.02, 0.98, 0.04, 0.99])
    _, boxes = noised(torch.zeros(1000).long(), box.expand(1000, 4), box_noise=3.0)
    assert boxes.min() == 0 and boxes.max() == 1


def without_noise(monkeypatch) -> None:
    monkeypatch.setattr(Denoising, "noise", lambda self, labels, boxes, draws, positive: (labels, boxes))


@pytest.mark.parametrize("counts", [(2, 3), (3, 0), (0, 1), (1, 1, 4)])
def test_slots(counts, monkeypatch):
    """Group by group, in each as many as the image with most objects has; those of fewer objects end in padding."""
    without_noise(monkeypatch)
    targets, queries, module = random_targets(counts, classes=K), matching(len(counts)), part()
    single = max(counts)
    answer = module(queries, targets)
    slots, noised = GROUPS * single, answer.noised
    assert answer.content.shape == (len(counts), slots + Q, C) and answer.anchors.shape == (len(counts), slots + Q, 4)
    assert noised.valid.shape == noised.positive.shape == (len(counts), slots)
    assert torch.equal(noised.weight, noised.valid / GROUPS) and torch.equal(noised.positive, noised.valid)
    for b, (labels, boxes, _) in enumerate(targets):
        for group in range(GROUPS):
            for i in range(single):
                slot = group * single + i
                content, anchor = answer.content[b, slot], answer.anchors[b, slot]
                assert noised.valid[b, slot] == (i < len(labels))
                if i < len(labels):
                    assert noised.labels[b, slot] == labels[i] and torch.equal(noised.boxes[b, slot], boxes[i])
                    assert torch.equal(content[:-1], module.labels[labels[i]]) and content[-1] == 1
                    assert worst(anchor, boxes[i]) < 1e-6
                else:
                    assert (content == 0).all() and (anchor == 0.5).all()


def test_matching_queries_come_last_and_get_no_label():
    queries, module = matching(), part()
    answer = module(queries, random_targets([2, 3], classes=K))
    expected = queries.content + torch.cat([module.labels[K], torch.zeros(1)])
    assert torch.equal(answer.content[:, -Q:], expected)
    assert torch.equal(answer.anchors[:, -Q:], queries.anchors)


def test_at_inference_only_the_embedding_of_no_label_is_left():
    queries, module = matching(), part()
    answer = module(queries, None)
    assert torch.equal(answer.content, queries.content + torch.cat([module.labels[K], torch.zeros(1)]))
    assert answer.anchors is queries.anchors
    assert answer.noised is None and answer.blocked is None


@pytest.mark.parametrize("targets", [None, random_targets([2, 1], classes=K)])
def test_learned_content_lacks_only_the_last_channel(targets):
    """As in DN-DAB-Deformable-DETR: no label is added to it."""
    queries, module = matching(dim=C - 1), part(content_dim=C - 1)
    answer = module(queries, targets)
    assert torch.equal(answer.content[:, -Q:, :-1], queries.content)
    assert (answer.content[:, -Q:, -1] == 0).all()
    if targets is not None:
        assert (answer.content[:, :-Q, -1] == answer.noised.valid).all()


def test_noised_labels_and_boxes_are_what_enters_and_the_truth_is_what_is_kept(monkeypatch):
    module, targets = part(), random_targets([2, 2], classes=K)
    count = GROUPS * 4
    wrong, moved = torch.arange(count) % K, random_boxes(count, seed=5)
    monkeypatch.setattr(module, "noise", lambda labels, boxes, draws, positive: (wrong, moved))
    answer = module(matching(), targets)
    entered = answer.content[:, : 2 * GROUPS, :-1]
    # the order of the draws is image, group, object; that of the slots is group, object
    assert torch.equal(entered, module.labels[wrong.view(2, -1)])
    boxes = moved.view(2, -1, 4)
    assert worst(answer.anchors[:, : 2 * GROUPS], boxes) < 1e-6
    assert torch.equal(answer.noised.labels, torch.stack([target.labels for target in targets]).repeat(1, GROUPS))
    assert torch.equal(answer.noised.boxes, torch.stack([target.boxes for target in targets]).repeat(1, GROUPS, 1))


def test_noise_follows_from_the_seed_of_the_image_whatever_the_batch():
    first, second = (target._replace(seed=7 + i) for i, target in enumerate(random_targets([2, 2], classes=K)))
    module, queries = part(), matching()
    both, other_way = module(queries, [first, second]), module(queries, [second, first])
    for one, two in ((both.anchors, other_way.anchors), (both.content, other_way.content)):
        assert torch.equal(one[:, : 2 * GROUPS], two[:, : 2 * GROUPS].flip(0))
    again = module(queries, [first._replace(seed=9), second])
    assert torch.equal(again.anchors[1], both.anchors[1])
    assert not torch.equal(again.anchors[0], both.anchors[0])


def test_without_a_seed_noise_follows_torchs_own():
    module, targets = part(), random_targets([2, 2], classes=K)
    answers = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        answers.append(module(matching(), targets).anchors[:, : 2 * GROUPS])
    assert torch.equal(answers[0], answers[1]) and not torch.equal(answers[0], answers[2])


def test_noise_differs_from_group_to_group():
    answer = part(label_noise=0.0)(matching(), random_targets([1, 1], classes=K))
    assert len(answer.anchors[0, :GROUPS].unique(dim=0)) == GROUPS


def test_anchors_go_through_the_inverse_sigmoid(monkeypatch):
    """A side as long as the image is 0.999 of it, for eps 1e-3 holds the logit at 6.9."""
    without_noise(monkeypatch)
    target = Target(torch.tensor([0]), torch.tensor([[0.5, 0.5, 1.0, 0.0]]))
    (anchor,) = part(groups=1)(matching(1), [target]).anchors[0, :1]
    torch.testing.assert_close(anchor, torch.tensor([0.5, 0.5, 1 / 1.001, 0.001 / 1.001]))


@pytest.mark.parametrize("groups, single", [(1, 2), (3, 1), (3, 2), (2, 0)])
def test_who_sees_whom(groups, single):
    """A group sees itself and the matching queries, and those see only each other."""
    slots = groups * single
    group = torch.tensor([[*(i // single for i in range(slots)), *[MATCHING] * Q]])
    (blocked,) = blocked_between(group)[0]
    assert blocked.shape == (slots + Q, slots + Q)
    for i in range(slots + Q):
        for j in range(slots + Q):
            seen = j >= slots or (i < slots and i // single == j // single)
            assert blocked[i, j] == (not seen), (i, j)


@pytest.mark.parametrize("columns", [2, 4])
def test_noised_anchors_have_the_columns_of_the_others(columns, monkeypatch):
    without_noise(monkeypatch)
    targets = random_targets([2, 2], classes=K)
    answer = part(anchor_dim=columns)(matching(columns=columns), targets)
    assert answer.anchors.shape[-1] == columns
    assert worst(answer.anchors[0, :2], targets[0].boxes[:, :columns]) < 1e-6
    assert answer.noised.boxes.shape[-1] == 4


def test_embedding_starts_normal_and_has_a_row_for_no_label():
    labels = part(num_classes=500).labels
    assert labels.shape == (501, C - 1)
    assert labels.std().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_16_bit_content_keeps_its_dtype_and_anchors_their_precision(dtype):
    """As under autocast, where the content of two-stage queries has 16 bits and anchors have 32."""
    queries = matching()
    queries = Queries(queries.content.to(dtype), queries.anchors)
    answer = part()(queries, random_targets([2, 1], classes=K))
    assert answer.anchors.dtype == torch.float32 and answer.noised.boxes.dtype == torch.float32
    assert answer.content.isfinite().all()


def test_no_denoising_changes_nothing():
    queries = matching()
    assert NoDenoising()(queries, random_targets([1, 2])) is queries and NoDenoising()(queries, None) is queries


def test_wrong_sizes_name_the_keys():
    with pytest.raises(ValueError, match=r"model\.queries\.dim must be 8 or 7 for denoising, got 6"):
        part(content_dim=6)
    with pytest.raises(ValueError, match=r"model\.denoising\.groups needs model\.queries with anchors"):
        part(anchor_dim=0)


def test_defaults_are_those_of_the_paper():
    module = Denoising(dim=C, content_dim=C, anchor_dim=4, num_classes=K)
    assert (module.groups, module.label_noise, module.box_noise, module.eps) == (5, 0.2, 0.4, 1e-3)
    module = ContrastiveDenoising(dim=C, anchor_dim=4, num_classes=K)
    assert (module.num_queries, module.label_noise, module.box_noise, module.eps) == (100, 0.25, 1.0, 1e-3)
    assert module.labels.shape == (K, C) and not module.groups_of_batch and not module.see_padding
