"""The attentions against torch's own and against their formula, one image and one head at a time."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

from dab_detr.modeling import dot_product
from dab_detr.modeling.attention import (
    Attention,
    ConditionalCrossAttention,
    ConditionalSelfAttention,
    CrossAttention,
    PositionedCrossAttention,
    SelfAttention,
)
from dab_detr.modeling.structures import Memory, Position
from samples import random_memory, worst

B, Q, S, C, HEADS = 2, 5, 7, 12, 3
CROSS = (CrossAttention, ConditionalCrossAttention, PositionedCrossAttention)
SELF = (SelfAttention, ConditionalSelfAttention)
ALL = (*CROSS, *SELF)


def sample() -> tuple[torch.Tensor, Position, Memory]:
    memory = random_memory([(1, S), (1, 4)], dim=C)
    return torch.randn(B, Q, C), Position(torch.randn(B, Q, C), torch.randn(B, Q, C)), memory


def apply(module: nn.Module, content, position, memory, blocked=None) -> torch.Tensor:
    """Of whatever kind the attention is; `blocked` is for attention among queries."""
    return module(content, position, memory if type(module) in CROSS else blocked)


def naive(scores: torch.Tensor, value: torch.Tensor, module: Attention, unseen: torch.Tensor | None = None):
    """(B, heads, Q, S) scaled scores and values (B, S, C) through softmax and the output projection.

    unseen: (B, S) or (B, Q, S), True where a query does not see a key.
    """
    out = torch.zeros(B, Q, C)
    width = C // HEADS
    for b in range(B):
        for h in range(HEADS):
            weights = scores[b, h].exp()
            if unseen is not None:
                weights = weights.masked_fill(unseen[b], 0)
            weights = weights / weights.sum(1, keepdim=True)
            out[b, :, h * width : (h + 1) * width] = weights @ value[b, :, h * width : (h + 1) * width]
    return module.out(out)


def products(query: torch.Tensor, key: torch.Tensor) -> torch.Tensor:
    """(B, heads, Q, S) dot products inside each head."""
    query, key = (x.unflatten(-1, (HEADS, -1)) for x in (query, key))
    return torch.einsum("bqhc,bshc->bhqs", query, key)


@pytest.mark.parametrize("kind", [CrossAttention, SelfAttention])
def test_plain_attention_is_multihead_attention_with_added_positions(kind):
    content, position, memory = sample()
    module, blocked = kind(dim=C, heads=HEADS), sample_blocked()
    theirs = nn.MultiheadAttention(C, HEADS, batch_first=True)
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([x.weight for x in (module.query, module.key, module.value)]))
        theirs.in_proj_bias.copy_(torch.cat([x.bias for x in (module.query, module.key, module.value)]))
    theirs.out_proj.load_state_dict(module.out.state_dict())
    query = content + position.embed
    if kind is SelfAttention:
        expected, _ = theirs(query, query, content, attn_mask=blocked)
    else:
        keys = memory.content + memory.position
        expected, _ = theirs(query, keys, memory.content, key_padding_mask=memory.padding)
    assert worst(apply(module, content, position, memory, blocked), expected) < 1e-6


def test_conditional_self_attention_projects_content_and_position_apart():
    content, position, _ = sample()
    module = ConditionalSelfAttention(dim=C, heads=HEADS)
    query = module.query(content) + module.query_position(position.embed)
    key = module.key(content) + module.key_position(position.embed)
    expected = naive(products(query, key) / math.sqrt(C / HEADS), module.value(content), module)
    assert worst(module(content, position, None), expected) < 1e-6


def sample_blocked() -> torch.Tensor:
    """(Q, Q): the last two queries see only themselves, and none of the others sees them."""
    last = torch.arange(Q) >= Q - 2
    return last[:, None] != last


@pytest.mark.parametrize("kind", SELF)
def test_blocked_queries_have_no_weight(kind):
    content, position, _ = sample()
    module, blocked = kind(dim=C, heads=HEADS), sample_blocked()
    if kind is SelfAttention:
        query, key = (x(content + position.embed) for x in (module.query, module.key))
    else:
        query = module.query(content) + module.query_position(position.embed)
        key = module.key(content) + module.key_position(position.embed)
    scores = products(query, key) / math.sqrt(C / HEADS)
    expected = naive(scores, module.value(content), module, blocked.expand(B, -1, -1))
    assert worst(module(content, position, blocked), expected) < 1e-6


@pytest.mark.parametrize("threshold", [0, 2**40])
@pytest.mark.parametrize("kind", SELF)
def test_blocked_queries_are_not_seen(kind, threshold, monkeypatch):
    monkeypatch.setattr(dot_product, "FUSED_FROM", threshold)
    content, position, _ = sample()
    module, blocked = kind(dim=C, heads=HEADS), sample_blocked()
    changed = content.clone()
    changed[:, -2:] = 1e4
    plain, other = (module(x, position, blocked) for x in (content, changed))
    assert torch.equal(plain[:, :-2], other[:, :-2]) and not torch.equal(plain[:, -2:], other[:, -2:])
    few = Position(position.embed[:, :-2])
    assert worst(plain[:, :-2], module(content[:, :-2], few, None)) < 1e-6
    assert worst(plain[:, :-2], module(content, position, None)[:, :-2]) > 1e-3


@pytest.mark.parametrize("kind", [ConditionalCrossAttention, PositionedCrossAttention])
def test_conditional_scores_are_content_by_content_plus_position_by_position(kind):
    content, position, memory = sample()
    module = kind(dim=C, heads=HEADS)
    query, key = module.query(content), module.key(memory.content)
    key_position = module.key_position(memory.position)
    if kind is PositionedCrossAttention:
        query, key = query + module.query_position(position.embed), key + key_position
    spatial = products(module.query_spatial(position.spatial), key_position)
    scores = (products(query, key) + spatial) / math.sqrt(2 * C / HEADS)
    expected = naive(scores, module.value(memory.content), module, memory.padding)
    assert worst(module(content, position, memory), expected) < 1e-6


@pytest.mark.parametrize("kind", CROSS)
def test_padded_cells_are_not_seen_and_others_are(kind):
    content, position, memory = sample()
    module = kind(dim=C, heads=HEADS)
    plain = module(content, position, memory)
    for fill in (1e4, -1e30):
        other = memory.content.masked_fill(memory.padding[..., None], fill)
        assert torch.equal(module(content, position, replace(memory, content=other)), plain)
    other = memory.content.clone()
    other[1, 3] += 1
    changed = module(content, position, replace(memory, content=other)) - plain
    assert (changed[0] == 0).all() and changed[1].abs().amax(-1).min() > 1e-4


@pytest.mark.parametrize("kind", ALL)
def test_order_of_queries_and_of_cells_does_not_matter(kind):
    content, position, memory = sample()
    module = kind(dim=C, heads=HEADS)
    q, s, blocked = torch.randperm(Q), torch.randperm(S), sample_blocked()
    shuffled = replace(memory, **{name: getattr(memory, name)[:, s] for name in ("content", "position", "padding")})
    other = apply(module, content[:, q], Position(*(x[:, q] for x in position[:2])), shuffled, blocked[q][:, q])
    assert worst(other, apply(module, content, position, memory, blocked)[:, q]) < 1e-6


@pytest.mark.parametrize("kind", ALL)
def test_torchs_fused_kernel_gives_the_same(kind, monkeypatch, fused_calls):
    inputs = sample()
    module = kind(dim=C, heads=HEADS)
    plain = apply(module, *inputs, sample_blocked())
    assert not fused_calls  # so few scores are not worth it
    monkeypatch.setattr(dot_product, "FUSED_FROM", Q * Q)
    other = apply(module, *inputs, sample_blocked())
    assert worst(other, plain) < 1e-6
    wider = isinstance(module, ConditionalCrossAttention)  # whose queries are twice as wide as its values
    assert bool(fused_calls) != wider


@pytest.mark.parametrize("threshold", [0, 2**40])
@pytest.mark.parametrize("kind", ALL)
def test_dropout_acts_in_training_only(kind, threshold, monkeypatch):
    monkeypatch.setattr(dot_product, "FUSED_FROM", threshold)
    inputs = sample()
    module = kind(dim=C, heads=HEADS, dropout=0.5)
    trained = [apply(module, *inputs) for _ in range(2)]
    assert not torch.equal(*trained)
    module.eval()
    assert torch.equal(apply(module, *inputs), apply(module, *inputs))
    module.dropout = 0.0
    assert torch.equal(apply(module.train(), *inputs), apply(module.eval(), *inputs))


@pytest.mark.parametrize("kind", ALL)
def test_heads_must_divide_channels(kind):
    with pytest.raises(ValueError, match="dim=12 must be a multiple of heads=5"):
        kind(dim=12, heads=5)


@pytest.mark.parametrize("kind", ALL)
def test_initialisation_exceptions(kind):
    module = kind(dim=60, heads=3)
    before = {name: p.detach().clone() for name, p in module.named_parameters()}
    module.reset_special_weights()
    assert (module.out.bias == 0).all()
    changed = {name for name, p in module.named_parameters() if not torch.equal(p, before[name])}
    stacked = {f"{x}.{p}" for x in ("query", "key", "value") for p in ("weight", "bias")}
    plain = kind in (CrossAttention, SelfAttention)
    assert changed == {"out.bias"} | (stacked if plain else set())
    if plain:  # xavier of one matrix with 3 * 60 outputs
        for projection in (module.query, module.key, module.value):
            assert projection.weight.abs().max().item() == pytest.approx((6 / (60 + 180)) ** 0.5, rel=0.02)
            assert (projection.bias == 0).all()


def test_same_parameters_as_the_original():
    """Names and number of the projections: conditional cross-attention adds query positions in the first layer only."""
    names = {kind: {name for name, _ in kind(dim=C, heads=HEADS).named_children()} for kind in ALL}
    plain = {"query", "key", "value", "out"}
    assert names[CrossAttention] == names[SelfAttention] == plain
    assert names[ConditionalSelfAttention] == plain | {"query_position", "key_position"}
    assert names[ConditionalCrossAttention] == plain | {"query_spatial", "key_position"}
    assert names[PositionedCrossAttention] == plain | {"query_spatial", "key_position", "query_position"}
