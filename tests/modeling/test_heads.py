"""What the heads answer before they have learned anything."""

import pytest
import torch

from dab_detr.modeling.boxes import anchor_logits, move_anchors
from dab_detr.modeling.heads import BoxHead, ClassHead, PlainBoxHead, SoftmaxClassHead


@pytest.mark.parametrize("prior", [None, 0.2])
def test_class_head_starts_at_the_prior_probability(prior):
    head = ClassHead(dim=8, num_classes=5, **({} if prior is None else {"prior": prior}))
    assert head(torch.randn(2, 3, 8)).shape == (2, 3, 5)
    torch.testing.assert_close(head(torch.zeros(8)).sigmoid(), torch.full((5,), prior or 0.01))


def test_class_head_tells_contents_apart_from_the_start():
    head = ClassHead(dim=8, num_classes=5)
    assert head(torch.randn(100, 8)).std(0).min() > 0.05


def test_box_head_leaves_anchors_where_they_are_until_it_has_learned():
    head = BoxHead(dim=8)
    anchors = torch.rand(2, 6, 4).clamp(0.01, 0.99)
    delta = head(torch.randn(2, 6, 8))
    assert delta.shape == (2, 6, 4)
    torch.testing.assert_close(move_anchors(delta, anchor_logits(anchors, eps=1e-3)), anchors)


def test_box_head_has_three_layers_and_can_learn():
    head = BoxHead(dim=8)
    assert [tuple(p.shape) for name, p in head.named_parameters() if "weight" in name] == [(8, 8), (8, 8), (4, 8)]
    assert head[2].weight.abs().min() > 0 or head[2].weight.std() > 0.1
    head(torch.randn(3, 8)).sum().backward()
    assert head[-1].weight.grad.abs().sum() > 0


def test_size_bias_is_the_size_of_boxes_without_anchors():
    head = BoxHead(dim=8, size_bias=-2.0)
    expected = torch.tensor([0.0, 0.0, -2.0, -2.0]).expand(6, 4)
    assert torch.equal(head(torch.randn(6, 8)), expected)


def test_softmax_class_head_has_one_output_more_and_no_prior():
    head = SoftmaxClassHead(dim=8, num_classes=5)
    assert head(torch.randn(2, 3, 8)).shape == (2, 3, 6)
    assert head.bias.abs().max() < 8**-0.5 + 1e-6


@pytest.mark.parametrize(
    "head",
    [BoxHead(dim=8), PlainBoxHead(dim=8), ClassHead(dim=8, num_classes=3), SoftmaxClassHead(dim=8, num_classes=3)],
    ids=lambda head: type(head).__name__,
)
def test_heads_answer_in_full_precision(head):
    for parameter in head.parameters():
        parameter.data.normal_()
    content = torch.randn(5, 8).bfloat16()  # as layer norm gives it under a CPU's autocast
    with torch.autocast("cpu", torch.bfloat16):
        answer = head(content)
    assert answer.dtype == torch.float32 and torch.equal(answer, head(content.float()))
