"""Query heads: order of patterns, start, and what training may move."""

import pytest
import torch
from torch import nn

from dab_detr.modeling.layers import MLP
from dab_detr.modeling.queries import AnchorBoxQueries, AnchorPointQueries, LearnedQueries
from dab_detr.modeling.structures import Memory
from samples import random_memory


def images(batch: int) -> Memory:
    """A memory of so many images, which is all that the heads look at."""
    return random_memory([(2, 3)] * batch)


def test_queries_are_the_same_for_every_image():
    head = AnchorBoxQueries(num_queries=6, dim=8)
    queries = head(images(3))
    assert queries.anchors.shape == (3, 6, 4) and queries.content.shape == (3, 6, 8)
    assert (queries.content == 0).all()
    logits = torch.cat([head.centre, head.size], -1)
    for anchors in queries.anchors:
        assert torch.equal(anchors, logits.sigmoid())


def test_points_have_no_size():
    head = AnchorBoxQueries(num_queries=6, dim=8, anchor_dim=2)
    assert set(head.state_dict()) == {"centre"}
    assert torch.equal(head(images(2)).anchors[1], head.centre.sigmoid())


@pytest.mark.parametrize("anchor_dim", [2, 4])
def test_patterns_are_tried_at_every_anchor_pattern_by_pattern(anchor_dim):
    plain = AnchorBoxQueries(num_queries=5, dim=8, anchor_dim=anchor_dim, num_patterns=3)
    queries = plain(images(2))
    assert queries.content.shape == (2, 15, 8) and queries.anchors.shape == (2, 15, anchor_dim)
    for p in range(3):
        for q in range(5):
            assert torch.equal(queries.content[1, p * 5 + q], plain.patterns[p])
            assert torch.equal(queries.anchors[1, p * 5 + q], queries.anchors[0, q])
    assert len(queries.anchors[0].unique(dim=0)) == 5


def test_anchors_start_as_normal_logits():
    head = AnchorBoxQueries(num_queries=4000, dim=8, num_patterns=500)
    for logits in (head.centre, head.size, head.patterns):
        assert logits.mean().abs() < 0.05
        assert logits.std().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("options", [{}, {"anchor_dim": 2}, {"fixed_xy": True}, {"num_patterns": 3}], ids=str)
def test_anchors_start_from_boxes_and_the_rest_as_before(options):
    head = AnchorBoxQueries(num_queries=5, dim=8, **options)
    before = head(images(1)).anchors[0, :5].detach()
    boxes = torch.tensor([[0.2, 0.3, 0.4, 0.5], [0.9, 0.1, 0.02, 0.2]])
    head.start_from(boxes)
    after = head(images(1)).anchors[0, :5]
    torch.testing.assert_close(after[:2], boxes[:, : head.anchor_dim])
    assert after[2:].equal(before[2:])


def test_anchors_that_start_from_boxes_at_the_border_can_move():
    head = AnchorBoxQueries(num_queries=2, dim=8)
    head.start_from(torch.tensor([[0.0, 1.0, 0.0, 1.0]] * 2))
    head(images(1)).anchors.sum().backward()
    assert (head.centre.grad > 0).all() and (head.size.grad > 0).all()


def test_more_boxes_than_queries_are_an_error():
    with pytest.raises(ValueError, match="3 boxes are more than the 2 queries"):
        AnchorBoxQueries(num_queries=2, dim=8).start_from(torch.rand(3, 4))


@pytest.mark.parametrize("option", ["uniform_xy", "fixed_xy"])
def test_uniform_centers_are_spread_evenly_and_sizes_are_not(option):
    head = AnchorBoxQueries(num_queries=4000, dim=8, **{option: True})
    anchors = head(images(1)).anchors[0]
    even = torch.linspace(0, 1, 4000)[:, None]
    assert (anchors[:, :2].sort(0).values - even).abs().max() < 0.03  # Kolmogorov-Smirnov distance
    assert head.centre.abs().max() < 6.91  # the inverse sigmoid's eps is 1e-3
    assert head.size.std().item() == pytest.approx(1, abs=0.05)


def test_uniform_centers_learn():
    assert AnchorBoxQueries(num_queries=4, dim=8, uniform_xy=True).centre.requires_grad


def test_fixed_centers_move_neither_by_gradient_nor_by_weight_decay():
    head = AnchorBoxQueries(num_queries=6, dim=8, fixed_xy=True)
    assert {name for name, _ in head.named_parameters()} == {"size"}
    assert set(head.state_dict()) == {"centre", "size"}
    centre, size = head.centre.clone(), head.size.detach().clone()
    optimizer = torch.optim.AdamW(head.parameters(), lr=0.1, weight_decay=0.5)
    for _ in range(3):
        optimizer.zero_grad()
        head(images(2)).anchors.square().sum().backward()
        optimizer.step()
    assert torch.equal(head.centre, centre)
    assert (head.size != size).all()


def test_fixed_centers_are_the_same_in_every_process():
    """Each process has drawn other numbers before, and buffers are not sent around."""
    heads = []
    for seed in range(2):
        torch.manual_seed(seed)
        heads.append(AnchorBoxQueries(num_queries=6, dim=8, fixed_xy=True))
    assert torch.equal(heads[0].centre, heads[1].centre)
    assert not torch.equal(heads[0].size, heads[1].size)


def test_fixed_centers_come_back_from_a_checkpoint():
    trained, fresh = (AnchorBoxQueries(num_queries=6, dim=8, fixed_xy=True) for _ in range(2))
    trained.centre += 0.5
    fresh.load_state_dict(trained.state_dict())
    assert torch.equal(fresh(images(1)).anchors, trained(images(1)).anchors)


def test_gradient_of_all_images_and_patterns_reaches_the_anchors():
    head = AnchorBoxQueries(num_queries=4, dim=8, num_patterns=3)
    queries = head(images(2))
    (queries.anchors.sum() + queries.content.sum()).backward()
    slope = head.centre.detach().sigmoid() * (1 - head.centre.detach().sigmoid())
    torch.testing.assert_close(head.centre.grad, 2 * 3 * slope)
    torch.testing.assert_close(head.patterns.grad, torch.full((3, 8), 2.0 * 4))


@pytest.mark.parametrize("anchor_dim", [0, 1, 3, 5])
def test_other_kinds_of_anchor_are_refused(anchor_dim):
    with pytest.raises(ValueError, match=f"anchor_dim must be 2 .* or 4 .*, got {anchor_dim}"):
        AnchorBoxQueries(num_queries=4, dim=8, anchor_dim=anchor_dim)


@pytest.mark.parametrize("num_patterns", [0, 3])
def test_learned_content_is_that_of_its_anchor_in_every_pattern(num_patterns):
    head = AnchorBoxQueries(num_queries=5, dim=8, learned_content=True, num_patterns=num_patterns)
    queries = head(images(2))
    assert "content" in dict(head.named_parameters())
    assert queries.content.shape == (2, 5 * max(num_patterns, 1), 8)
    for i, content in enumerate(queries.content[1]):
        pattern = head.patterns[i // 5] if num_patterns else 0
        assert torch.equal(content, head.content[i % 5] + pattern)


def test_content_that_is_not_learned_is_no_part_of_a_checkpoint():
    for head in (AnchorBoxQueries(num_queries=5, dim=8), LearnedQueries(num_queries=5, dim=8)):
        assert "content" not in head.state_dict() and (head(images(1)).content == 0).all()


def test_anchor_points_are_learned_as_they_are_pattern_by_pattern():
    head = AnchorPointQueries(num_queries=5, dim=8, num_patterns=3)
    queries = head(images(2))
    assert queries.content.shape == (2, 15, 8) and queries.anchors.shape == (2, 15, 2)
    for i in range(15):
        assert torch.equal(queries.content[1, i], head.patterns[i // 5])
        assert torch.equal(queries.anchors[1, i], head.points[i % 5])
    assert {name for name, _ in head.named_parameters()} == {"points", "patterns"}
    assert head.gives == ("anchors",)


def test_anchor_points_start_evenly_over_the_image():
    head = AnchorPointQueries(num_queries=4000, dim=8, num_patterns=500)
    even = torch.linspace(0, 1, 4000)[:, None]
    assert (head.points.sort(0).values - even).abs().max() < 0.03  # Kolmogorov-Smirnov distance
    assert head.patterns.std().item() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("learned_content", [False, True])
def test_learned_queries_without_anchors(learned_content):
    head = LearnedQueries(num_queries=5, dim=8, learned_content=learned_content)
    queries = head(images(2))
    assert queries.anchors.shape == (2, 5, 0) and head.gives == ("learned positions",)
    assert {name for name, _ in head.named_parameters()} == ({"embed", "content"} if learned_content else {"embed"})
    for b in range(2):
        assert torch.equal(queries.embed[b], head.embed) and torch.equal(queries.content[b], head.content)


@pytest.mark.parametrize("columns", [2, 4])
def test_anchors_are_read_from_learned_positions(columns):
    head = LearnedQueries(num_queries=5, dim=8, point_head=MLP(8, 8, columns))
    queries = head(images(2))
    assert head.gives == ("learned positions", "anchors")
    for anchors in queries.anchors:
        assert torch.equal(anchors, head.point_head(head.embed).sigmoid())
    queries.anchors.sum().backward()
    assert head.embed.grad.abs().sum() > 0


def test_learned_queries_start_normal_and_their_head_from_xavier():
    head = LearnedQueries(num_queries=4000, dim=60, point_head=nn.Linear(60, 60), learned_content=True)
    for x in (head.embed, head.content):
        assert x.std().item() == pytest.approx(1, abs=0.05)
    assert head.point_head.weight.abs().max().item() == pytest.approx((6 / 120) ** 0.5, rel=0.02)


def test_patterns_of_learned_queries_name_the_key():
    with pytest.raises(ValueError, match=r"model\.queries\.num_patterns needs anchors to repeat"):
        LearnedQueries(num_queries=5, dim=8, num_patterns=3)
