"""Encoder and decoder with simple parts: what each part is given, and where gradients flow."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from dab_detr.modeling.boxes import anchor_logits, move_anchors
from dab_detr.modeling.heads import BoxHead, ClassHead
from dab_detr.modeling.layers import MLP, FeedForward
from dab_detr.modeling.structures import Memory, Noised, Position, Queries
from dab_detr.modeling.transformer import (
    Decoder,
    DecoderLayer,
    DeformableEncoder,
    DetachedAnchors,
    Encoder,
    EncoderLayer,
    FixedAnchors,
    RefinedAnchors,
    ScaledEncoder,
)
from samples import random_boxes, random_memory, worst

B, Q, S, C, K, L = 2, 4, 6, 8, 3, 3
EPS = 1e-3
REFINEMENTS = (RefinedAnchors, DetachedAnchors, FixedAnchors)


class Recorder(nn.Module):
    """Notes what it is called with and answers `answer(*inputs)`."""

    def __init__(self, answer):
        super().__init__()
        self.answer, self.calls = answer, []

    def forward(self, *inputs):
        self.calls.append(inputs)
        return self.answer(*inputs)


def sample_memory() -> Memory:
    return random_memory([(2, 2), (1, 2)], [(2, 1), (1, 1)], dim=C)


def feed_forward(dropout: float = 0.0) -> FeedForward:
    return FeedForward(dim=C, hidden=16, activation=nn.ReLU(), dropout=dropout)


def test_encoder_layer_adds_then_normalizes():
    memory = sample_memory()
    attention = Recorder(lambda content, position, memory: 3 * content + position.embed)
    layer = EncoderLayer(attention=attention, ffn=feed_forward(), dim=C)
    nn.init.normal_(layer.norm1.weight)
    x = layer.norm1(memory.content + 3 * memory.content + memory.position)
    centers = torch.rand(B, S, 2)
    assert worst(layer(memory, centers), layer.norm2(x + layer.ffn(x))) < 1e-6
    (content, position, seen) = attention.calls[0]
    assert content is memory.content and seen is memory
    assert position.embed is memory.position and position.spatial is memory.position and position.anchors is centers


def recording_layers() -> list[EncoderLayer]:
    attentions = [Recorder(lambda content, position, memory: torch.zeros_like(content)) for _ in range(L)]
    return [EncoderLayer(attention=x, ffn=feed_forward(), dim=C) for x in attentions]


@pytest.mark.parametrize("kind", [Encoder, ScaledEncoder, DeformableEncoder])
def test_every_layer_of_an_encoder_sees_the_content_of_the_one_before(kind):
    """With the position that the memory came with, scaled by that content or not, and around the cells' own centers."""
    memory, layers = sample_memory(), recording_layers()
    encoder = kind(layers=layers, **({"position_scale": MLP(C, C, C)} if kind is ScaledEncoder else {}))
    out = encoder(memory)
    content, rest = memory.content, ("position", "padding", "shapes", "valid_ratios", "encode")
    assert all(getattr(out, name) is getattr(memory, name) for name in rest)
    for layer in layers:
        (seen, position, inner) = layer.attention.calls[0]
        assert worst(seen, content) < 1e-6 and inner.padding is memory.padding
        scale = encoder.position_scale(content) if kind is ScaledEncoder else 1
        assert worst(position.embed, memory.position * scale) < 1e-6
        assert inner.position is position.embed and inner.content is seen
        if kind is DeformableEncoder:
            assert torch.equal(position.anchors, memory.centers())
        else:
            assert position.anchors is None
        content = layer(replace(memory, content=content), None)
    assert worst(out.content, content) < 1e-6


def test_decoder_layer_adds_then_normalizes_self_cross_feed_forward():
    content, position, memory = torch.randn(B, Q, C), Position(torch.randn(B, Q, C)), sample_memory()
    queries = Queries(content, random_boxes(B, Q), blocked=torch.eye(Q).bool())
    self_attention = Recorder(lambda content, position, blocked: 2 * content + position.embed)
    cross_attention = Recorder(lambda content, position, memory: 3 * content - memory.content[:, :Q])
    layer = DecoderLayer(self_attention=self_attention, cross_attention=cross_attention, ffn=feed_forward(), dim=C)
    for norm in (layer.norm1, layer.norm2, layer.norm3):
        nn.init.normal_(norm.weight)
    x = layer.norm1(3 * content + position.embed)
    x = layer.norm2(4 * x - memory.content[:, :Q])
    assert worst(layer(queries, position, memory), layer.norm3(x + layer.ffn(x))) < 1e-6
    assert self_attention.calls[0][0] is content and self_attention.calls[0][1] is position
    assert self_attention.calls[0][2] is queries.blocked
    assert all(a is b for a, b in zip(cross_attention.calls[0][1:], (position, memory), strict=True))


def test_dropout_drops_every_update_in_training():
    content, position, memory = torch.randn(B, Q, C), Position(torch.randn(B, Q, C)), sample_memory()
    attentions = [Recorder(lambda content, *others: torch.full_like(content, 5).cumsum(-1)) for _ in range(3)]
    parts = {"ffn": feed_forward(), "dim": C, "dropout": 1.0}
    decoder_layer = DecoderLayer(self_attention=attentions[0], cross_attention=attentions[1], **parts)
    encoder_layer = EncoderLayer(attention=attentions[2], **parts)
    norm = nn.LayerNorm(C)
    for layer, inputs, plain, norms in [
        (decoder_layer, (Queries(content, random_boxes(B, Q)), position, memory), content, 3),
        (encoder_layer, (memory, None), memory.content, 2),
    ]:
        for _ in range(norms):
            plain = norm(plain)
        assert worst(layer(*inputs), plain) < 1e-5
        assert worst(layer.eval()(*inputs), plain) > 0.1


class AddPosition(nn.Module):
    """A decoder layer that adds the positional query, so that its output shows which it got."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(C, C))

    def forward(self, queries, position, memory):
        return (queries.content + position.embed) @ self.weight + memory.content.mean()


def small_decoder(refinement=None, heads: int = 1) -> Decoder:
    prior = Recorder(lambda x, memory, layer: Position(x.anchors.sum(-1, keepdim=True) + x.content.flip(-1)))
    decoder = Decoder(
        layers=[AddPosition() for _ in range(L)],
        prior=prior,
        norm=nn.LayerNorm(C),
        class_heads=[ClassHead(dim=C, num_classes=K) for _ in range(heads)],
        box_heads=[BoxHead(dim=C) for _ in range(heads)],
        refinement=refinement or RefinedAnchors(),
        eps=EPS,
    )
    for parameter in decoder.parameters():
        nn.init.normal_(parameter, std=0.5)
    return decoder


def sample_queries(columns: int = 4) -> Queries:
    return Queries(content=torch.randn(B, Q, C), anchors=random_boxes(B, Q)[..., :columns].requires_grad_())


def by_hand(decoder: Decoder, queries: Queries, memory: Memory):
    """Logits and boxes of each layer, one step after the other; and the anchors that entered it."""
    reference, steps, kind = queries.anchors, [], type(decoder.refinement)
    for i, layer in enumerate(decoder.layers):
        anchors = queries.anchors
        class_head, box_head = (heads[i % len(heads)] for heads in (decoder.class_heads, decoder.box_heads))
        content = layer(queries, decoder.prior.answer(queries, memory, i), memory)
        hidden = decoder.norm(content)
        steps.append((class_head(hidden), move_anchors(box_head(hidden), anchor_logits(reference, EPS)), anchors))
        if kind is not FixedAnchors:
            reference = move_anchors(box_head(content), anchor_logits(anchors, EPS))
            anchors = reference.detach()
        if kind is RefinedAnchors:
            reference, anchors = (x[..., : queries.anchors.shape[-1]] for x in (reference, anchors))
        if kind is DetachedAnchors:
            reference = anchors
        queries = replace(queries, content=content, anchors=anchors)
    return steps


@pytest.mark.parametrize("heads", [1, L])
@pytest.mark.parametrize("refinement", REFINEMENTS)
@pytest.mark.parametrize("columns", [0, 2, 4])
def test_decoder_is_layer_by_layer_what_it_says(columns, refinement, heads):
    decoder, queries, memory = small_decoder(refinement(), heads), sample_queries(columns), sample_memory()
    prediction = decoder(queries, memory)
    assert prediction.logits.shape == (L, B, Q, K) and prediction.boxes.shape == (L, B, Q, 4)
    assert [call[2] for call in decoder.prior.calls] == list(range(L))
    steps = by_hand(decoder, queries, memory)
    for i, (logits, boxes, anchors) in enumerate(steps):
        assert worst(prediction.logits[i], logits) < 1e-5
        assert worst(prediction.boxes[i], boxes) < 1e-5
        seen = decoder.prior.calls[i][0].anchors
        assert seen.shape[-1] == (4 if refinement is DetachedAnchors and i else columns)
        assert worst(seen.detach(), anchors.detach()) < 1e-5
        assert decoder.prior.calls[i][1] is memory


@pytest.mark.parametrize(
    "refinement, boxes_asked", [(RefinedAnchors(), L - 1), (DetachedAnchors(), L - 1), (FixedAnchors(), 0)]
)
def test_boxes_are_refined_only_where_a_layer_follows(refinement, boxes_asked):
    decoder = small_decoder(refinement)
    inputs = []
    decoder.box_heads[0].register_forward_hook(lambda module, args, out: inputs.append(args[0].shape))
    decoder(sample_queries(), sample_memory())
    assert inputs == [(B, Q, C)] * boxes_asked + [(L, B, Q, C)]


@pytest.mark.parametrize("refinement", REFINEMENTS)
def test_a_layer_attends_with_detached_anchors_but_its_boxes_reach_the_layer_before(refinement):
    """Gradients of one layer's boxes: through the content, and where the reference is not detached through it too."""
    refined = refinement is RefinedAnchors
    decoder, queries, memory = small_decoder(refinement(), heads=L), sample_queries(), sample_memory()
    prediction = decoder(queries, memory)
    steps = by_hand(decoder, queries, memory)
    parameters = dict(decoder.named_parameters()) | {"anchors": queries.anchors}
    for i in range(L):
        ours, theirs = (
            torch.autograd.grad(boxes.square().sum(), parameters.values(), allow_unused=True, retain_graph=True)
            for boxes in (prediction.boxes[i], steps[i][1])
        )
        for name, a, b in zip(parameters, ours, theirs, strict=True):
            a, b = (torch.zeros_like(parameters[name]) if x is None else x for x in (a, b))
            assert worst(a, b) < 1e-4, (i, name)
        reached = {name for name, a in zip(parameters, ours, strict=True) if a is not None and a.abs().sum() > 0}
        for j in range(L):  # layer i's boxes come from its own head, and from the one before it if that refined
            assert (f"box_heads.{j}.4.weight" in reached) == (j == i or refined and j == i - 1), (i, j)
    # refined anchors are detached where a layer attends with them; fixed ones learn from every layer
    learn = refinement is FixedAnchors
    assert all(call[0].anchors.requires_grad == learn for call in decoder.prior.calls[1:])


def test_points_stay_points_and_their_size_is_fresh_in_each_layer():
    decoder, queries = small_decoder(), sample_queries(columns=2)
    hidden = []
    decoder.norm.register_forward_hook(lambda module, args, out: hidden.append(out))
    prediction = decoder(queries, sample_memory())
    assert all(call[0].anchors.shape[-1] == 2 for call in decoder.prior.calls)
    assert worst(prediction.boxes[..., 2:], decoder.box_heads[0](hidden[0])[..., 2:].sigmoid()) < 1e-6


def test_number_of_heads_is_checked():
    parts = {"layers": [AddPosition() for _ in range(L)], "prior": nn.Identity(), "norm": nn.LayerNorm(C)}
    parts |= {"refinement": FixedAnchors(), "eps": EPS}
    one, two = [BoxHead(dim=C)], [BoxHead(dim=C), BoxHead(dim=C)]
    with pytest.raises(ValueError, match=r"box_heads must have 1 entry or one per layer \(3\), got 2"):
        Decoder(class_heads=one, box_heads=two, **parts)
    with pytest.raises(ValueError, match=r"class_heads must have 1 entry or one per layer \(3\), got 0"):
        Decoder(class_heads=[], box_heads=one, **parts)


def test_xavier_reaches_the_layers_and_leaves_the_heads():
    """The box head must still answer 0, the class head its prior; matrices of layers and prior are xavier's."""
    decoder = Decoder(
        layers=[DecoderLayer(self_attention=MLP(60, 60), cross_attention=MLP(60, 60), ffn=MLP(60, 60), dim=60)],
        prior=MLP(60, 60),
        norm=nn.LayerNorm(60),
        class_heads=[ClassHead(dim=60, num_classes=40)],
        box_heads=[BoxHead(dim=60)],
        refinement=RefinedAnchors(),
        eps=EPS,
    )
    encoder_layer = EncoderLayer(attention=MLP(60, 60), ffn=MLP(60, 60), dim=60)
    encoder = ScaledEncoder(layers=[encoder_layer], position_scale=MLP(60, 60))
    xavier, default = (6 / 120) ** 0.5, 60**-0.5
    layer = decoder.layers[0]
    for mlp in (layer.self_attention, layer.cross_attention, layer.ffn, decoder.prior, encoder.position_scale):
        assert mlp[0].weight.abs().max().item() == pytest.approx(xavier, rel=0.02)
    assert encoder.layers[0].attention[0].weight.abs().max().item() == pytest.approx(xavier, rel=0.02)
    assert decoder.class_heads[0].weight.abs().max().item() == pytest.approx(default, rel=0.02)
    assert (decoder.box_heads[0][-1].weight == 0).all()


@pytest.mark.parametrize("columns", [0, 2])
def test_points_become_boxes_after_the_first_layer_where_nothing_reaches_back(columns):
    """Deformable DETR's refinement: the second layer attends with the whole box that the first one predicted."""
    decoder, queries = small_decoder(DetachedAnchors(), heads=L), sample_queries(columns)
    decoder.norm = nn.Identity()
    prediction = decoder(queries, sample_memory())
    assert [call[0].anchors.shape[-1] for call in decoder.prior.calls] == [columns, 4, 4]
    for i in range(L - 1):  # without a norm the predicted box is the one that the next layer starts from
        assert worst(prediction.boxes[i].detach(), decoder.prior.calls[i + 1][0].anchors) < 1e-6
        assert not decoder.prior.calls[i + 1][0].anchors.requires_grad


def test_every_layer_is_told_what_is_blocked():
    decoder, blocked = small_decoder(), torch.eye(Q).bool()
    decoder(replace(sample_queries(), blocked=blocked), sample_memory())
    assert all(call[0].blocked is blocked for call in decoder.prior.calls)


def test_answers_of_noised_queries_are_put_beside_those_of_the_others():
    decoder, queries, memory = small_decoder(), sample_queries(), sample_memory()
    proposals = object()
    plain = decoder(replace(queries, proposals=proposals), memory)
    assert plain.denoised is None and plain.proposals is proposals
    valid = torch.tensor([[True, False, False], [True, True, False]])
    noised = Noised(torch.zeros(B, 3).long(), random_boxes(B, 3), positive=valid, weight=valid.float())
    prediction = decoder(replace(queries, proposals=proposals, noised=noised), memory)
    answers, truth = prediction.denoised
    assert truth is noised and prediction.proposals is proposals
    assert torch.equal(torch.cat([answers.logits, prediction.logits], 2), plain.logits)
    assert torch.equal(torch.cat([answers.boxes, prediction.boxes], 2), plain.boxes)
    assert prediction.logits.shape[2] == Q - 3
