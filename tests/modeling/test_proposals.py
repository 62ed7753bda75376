"""Two-stage queries: which cells are chosen, what becomes of them, and what learns from what."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from dab_detr.modeling.heads import BoxHead, ClassHead
from dab_detr.modeling.positional import sine_embedding
from dab_detr.modeling.proposals import (
    EncodedProposalQueries,
    MemoryProposalQueries,
    MixedProposalQueries,
    ProposalQueries,
    proposal_logits,
)
from dab_detr.modeling.structures import ABSENT, Memory
from samples import random_memory, worst

B, Q, C, K = 2, 4, 8, 3
KINDS = [ProposalQueries, EncodedProposalQueries, MixedProposalQueries, MemoryProposalQueries]
LEVELS = [[(4, 6), (3, 5)], [(2, 3), (1, 3)]]
CELLS = 4 * 6 + 2 * 3


def memory(padded: bool = True) -> Memory:
    """Whose content learns; the second image has padding, or is as large as the first."""
    plain = random_memory(*(sizes if padded else sizes[:1] * B for sizes in LEVELS), dim=C)
    return replace(plain, content=plain.content.requires_grad_())


def head(kind=ProposalQueries, **options) -> ProposalQueries:
    """With weights that differ from cell to cell."""
    parts = {"class_head": ClassHead(dim=C, num_classes=K), "box_head": BoxHead(dim=C)}
    queries = kind(num_queries=Q, dim=C, **parts, **options)
    for parameter in queries.parameters():
        nn.init.normal_(parameter, std=0.5)
    return queries


def all_proposals(queries: ProposalQueries, images: Memory) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features (B, S, C), class logits (B, S, K) and boxes (B, S, 4) of every cell."""
    start, valid = proposal_logits(images, queries.size)
    content = torch.where(valid[..., None], images.content, torch.zeros(()))
    features = queries.norm(queries.transform(content))
    return features, queries.class_head(features), (queries.box_head(features) + start).sigmoid()


def naive_start(sizes: list[list[tuple[int, int]]], size: float) -> list[list[list[float]]]:
    """The box (cxcywh) of every cell, image by image; of those that are not valid (1, 1, 1, 1)."""
    images = []
    for b in range(len(sizes[0])):
        boxes = []
        for level, valid in enumerate(sizes):
            height, width = (max(x[i] for x in valid) for i in (0, 1))
            for y in range(height):
                for x in range(width):
                    side = size * 2**level
                    box = [(x + 0.5) / valid[b][1], (y + 0.5) / valid[b][0], side, side]
                    inside = y < valid[b][0] and x < valid[b][1]
                    boxes.append(box if inside and all(0.01 < z < 0.99 for z in box) else [1.0] * 4)
        images.append(boxes)
    return images


@pytest.mark.parametrize(
    "sizes, size, rejected",
    [
        (LEVELS, 0.05, [0, 24 - 15 + 6 - 3]),  # only padding
        ([[(1, 60), (1, 40)]], 0.05, [2, 20]),  # on long maps the cells at the ends too
        ([[(60, 1), (40, 1)]], 0.05, [2, 20]),
        ([[(2, 2)], [(1, 1)], [(1, 2)]], 0.25, [2]),  # 0.25, 0.5, and then boxes of the whole image
        ([[(2, 2)]], 0.005, [4]),
    ],
)
def test_every_cell_starts_from_a_box_around_its_center(sizes, size, rejected):
    logits, valid = proposal_logits(random_memory(*sizes), size)
    expected = torch.tensor(naive_start(sizes, size))
    torch.testing.assert_close(logits.sigmoid(), expected)
    assert torch.equal(valid, (expected < 1).all(-1))
    assert (~valid).sum(1).tolist() == rejected
    assert torch.equal(logits.isposinf().all(-1), ~valid) and torch.equal(logits.isinf().any(-1), ~valid)


@pytest.mark.parametrize("class_agnostic", [True, False])
def test_the_best_cells_become_queries(class_agnostic):
    """By their logit of class 0, or by that of their best class."""
    queries, images = head(class_agnostic=class_agnostic), memory()
    features, logits, boxes = all_proposals(queries, images)
    answer = queries(images)
    for b in range(B):
        scores = logits[b, :, 0] if class_agnostic else logits[b].amax(-1)
        best = sorted(range(CELLS), key=lambda i: -scores[i])[:Q]  # noqa: B023
        assert worst(answer.content[b], features[b, best]) < 1e-6
        assert worst(answer.anchors[b], boxes[b, best]) < 1e-6
    assert answer.embed is None
    rules = [logits[..., 0].topk(Q).indices, logits.amax(-1).topk(Q).indices]
    assert not torch.equal(*rules)  # else this could not tell the rules apart


@pytest.mark.parametrize("dense", [True, False])
def test_proposals_are_all_cells_or_the_chosen_ones(dense):
    queries, images = head(dense=dense), memory()
    _, logits, boxes = all_proposals(queries, images)
    proposals = queries(images).proposals
    assert proposals.logits.shape == (1, B, CELLS if dense else Q, K)
    if not dense:
        index = logits.amax(-1).topk(Q).indices[..., None]
        logits, boxes = logits.gather(1, index.expand(-1, -1, K)), boxes.gather(1, index.expand(-1, -1, 4))
    assert worst(proposals.logits[0], logits) < 1e-6 and worst(proposals.boxes[0], boxes) < 1e-6


@pytest.mark.parametrize("kind", [ProposalQueries, EncodedProposalQueries])
def test_queries_carry_no_gradient_and_proposals_do(kind):
    queries, images = head(kind), memory(padded=False)
    answer = queries(images)
    assert not answer.anchors.requires_grad
    if kind is ProposalQueries:
        assert not answer.content.requires_grad
    else:  # content and position are learned, from a box that is not
        (answer.content.sum() + answer.embed.square().sum()).backward()
        assert images.content.grad is None
        learned = {name for name, p in queries.named_parameters() if p.grad is not None}
        assert learned == {f"{part}.{kind}" for part in ("encode", "encode_norm") for kind in ("weight", "bias")}
    (answer.proposals.logits.square().sum() + answer.proposals.boxes.sum()).backward()
    assert (images.content.grad.abs().sum(-1) > 0).sum() == B * Q
    encoder = {"transform", "norm", "class_head", "box_head"}
    assert all(p.grad is not None for name, p in queries.named_parameters() if name.split(".")[0] in encoder)


def test_encoded_queries_are_made_from_the_box_in_the_order_x_y_w_h():
    queries, images = head(EncodedProposalQueries), memory()
    answer = queries(images)
    columns = [sine_embedding(answer.anchors[..., [i, i]], C // 2, 10000)[..., : C // 2] for i in range(4)]
    both = queries.encode_norm(queries.encode(torch.cat(columns, -1)))
    assert answer.embed.shape == answer.content.shape == (B, Q, C)
    assert worst(answer.embed, both[..., :C]) < 1e-6 and worst(answer.content, both[..., C:]) < 1e-6
    assert queries.gives == ("anchors", "learned positions")


def test_what_is_in_cells_that_are_not_valid_does_not_matter():
    """They are all alike, and their box is the whole image and beyond, whatever the box head says."""
    queries, images = head(dense=True), memory()
    _, valid = proposal_logits(images, 0.05)
    assert valid.sum(1).tolist() == [CELLS, 3 * 5 + 3]
    plain = queries(images).proposals
    other = replace(images, content=images.content.detach().masked_fill(~valid[..., None], float("nan")))
    filled = queries(other).proposals
    assert torch.equal(plain.logits, filled.logits) and torch.equal(plain.boxes, filled.boxes)
    rejected = plain.logits[0, ~valid]
    assert worst(rejected, rejected[:1].expand_as(rejected)) == 0
    assert (plain.boxes[0, ~valid] == 1).all() and (plain.boxes[0, valid] < 1).all()


def test_boxes_of_higher_levels_are_larger():
    boxes = proposal_logits(random_memory([(2, 2)], [(2, 2)], [(2, 2)]), 0.1)[0].sigmoid()[0]
    torch.testing.assert_close(boxes[:, 2:], torch.tensor([0.1, 0.2, 0.4]).repeat_interleave(4)[:, None].expand(-1, 2))


@pytest.mark.parametrize("cells", [1, Q - 1, Q])
@pytest.mark.parametrize("kind", KINDS)
def test_images_with_fewer_cells_than_queries_have_a_query_for_each(kind, cells):
    answer = head(kind)(random_memory([(1, cells)], dim=C))
    assert answer.anchors.shape == (1, cells, 4) and answer.content.shape == (1, cells, C)
    assert answer.proposals.logits.shape == (1, 1, cells, K)


def test_mixed_queries_pair_learned_content_with_boxes_in_the_order_of_their_scores():
    """The same content for every image; it learns, the boxes do not."""
    queries, images = head(MixedProposalQueries), memory()
    answer, plain = queries(images), head(MixedProposalQueries)(images)
    assert torch.equal(answer.content, queries.content.expand(B, -1, -1)) and answer.content.requires_grad
    scores = answer.proposals.logits[0].amax(-1)
    assert (scores[:, :-1] >= scores[:, 1:]).all() and not torch.equal(answer.anchors, plain.anchors)
    assert not answer.anchors.requires_grad and answer.proposals.boxes.requires_grad
    assert worst(answer.anchors, answer.proposals.boxes[0]) == 0


def test_learned_content_starts_from_xavier():
    parts = {"class_head": nn.Identity(), "box_head": nn.Identity()}
    content = MixedProposalQueries(num_queries=900, dim=256, **parts).content
    assert content.abs().max().item() == pytest.approx((6 / (900 + 256)) ** 0.5, rel=1e-3)


def test_the_memory_at_the_chosen_cells_is_content_that_reaches_the_encoder():
    queries, images = head(MemoryProposalQueries), memory()
    answer = queries(images)
    best = all_proposals(queries, images)[1].amax(-1).topk(Q).indices
    assert torch.equal(answer.content, images.content.gather(1, best[..., None].expand(-1, -1, C)))
    answer.content.sum().backward()
    assert (images.content.grad.abs().sum(-1) > 0).sum() == B * Q


@pytest.mark.parametrize("kind", KINDS)
def test_exact_memories_never_offer_cells_of_the_padding(kind):
    """Where too few cells are left, the queries without one stand for nothing, and nobody sees them."""
    images = replace(random_memory([(3, 4), (1, 2)], dim=C), exact=True)
    for score in (-20.0, 20.0):  # a bias for the constant features of cells that propose nothing
        queries = head(kind, dense=True)
        nn.init.constant_(queries.class_head.bias, score)
        answer = queries(images)
        assert answer.empty.tolist() == [[False] * Q, [False, False, True, True]]
        assert (answer.proposals.logits[0, 1, 0] != ABSENT).all()
        assert (answer.proposals.logits[0, images.padding] == ABSENT).all()
        assert answer.blocked[1, 0, :2].tolist() == [[False, False, True, True]] * 2
        assert not answer.blocked[0].any() and not answer.blocked.all(-1).any()
    assert head(kind)(replace(images, exact=False)).empty is None


def test_transform_starts_from_xavier():
    parts = {"class_head": nn.Identity(), "box_head": nn.Identity(), "class_agnostic": True}
    queries = EncodedProposalQueries(num_queries=Q, dim=60, **parts)
    for layer, dim in ((queries.transform, 60), (queries.encode, 120)):
        assert layer.weight.abs().max().item() == pytest.approx((6 / (2 * dim)) ** 0.5, rel=0.02)
        assert (layer.bias == 0).all()
