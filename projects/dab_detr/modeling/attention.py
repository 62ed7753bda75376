"""The attention of the DETR family. Position is added to content, or concatenated to it inside each head.

Names: B images, Q queries, S memory cells, C channels.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dot_product import attend, in_heads, scores
from .part import SPATIAL, Part
from .structures import Look, Memory, Position


class Projected(NamedTuple):
    """The inputs of an attention: queries (B, Q, E), keys (B, S, E), values (B, S, C), and `blocked`, None or bool that
    broadcasts to (B, heads, Q, S), True where a query must not see a key."""

    query: Tensor
    key: Tensor
    value: Tensor
    blocked: Tensor | None


class Terms(NamedTuple):
    """Queries and keys of a cross-attention as sums of content and position, each (B, Q, E) or (B, S, E)."""

    content_query: Tensor
    position_query: Tensor
    content_key: Tensor
    position_key: Tensor


def products_of(terms: Terms, rows: Tensor, heads: int) -> dict[str, Tensor]:
    """The scaled products (heads, n, S) that `Look` holds, for the queries `rows` (n,) of the first image."""
    content_query, position_query = (in_heads(x[:1, rows], heads) for x in terms[:2])
    content_key, position_key = (in_heads(x[:1], heads) for x in terms[2:])
    return {
        "content": scores(content_query, content_key, None)[0],
        "position": scores(position_query, position_key, None)[0],
        "mixed": (scores(content_query, position_key, None) + scores(position_query, content_key, None))[0],
    }


class Attention(Part, nn.Module):
    """Base of the attentions: heads, dropout on the weights, and projections of `dim` channels."""

    def __init__(self, *, dim: int, heads: int, dropout: float = 0.0):
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim={dim} must be a multiple of heads={heads}")
        self.heads, self.dropout = heads, dropout
        self.query, self.key, self.value, self.out = (nn.Linear(dim, dim) for _ in range(4))

    def reset_special_weights(self) -> None:
        nn.init.zeros_(self.out.bias)

    def forward(self, content: Tensor, position: Position, source: Memory | Tensor | None) -> Tensor:
        """(B, Q, C) content and its position to (B, Q, C).

        source: the memory in cross-attention; `Queries.blocked` in self-attention.
        """
        dropout = self.dropout if self.training else 0.0
        query, key, value, blocked = self.project(content, position, source)
        return self.out(attend(query, key, value, self.heads, blocked, dropout))

    def project(self, content: Tensor, position: Position, source: Memory | Tensor | None) -> Projected:
        """Queries, keys and values of `forward`'s arguments."""
        raise NotImplementedError

    def terms(self, content: Tensor, position: Position, memory: Memory) -> Terms | None:
        """The queries and keys of `project`, split into content and position; None if they cannot be split."""
        return None

    def look(self, content: Tensor, position: Position, source: Memory | Tensor | None, rows: Tensor) -> Look:
        """The view of the queries `rows` (n,) of the first image, with the arguments of `forward`."""
        query, key, value, blocked = self.project(content, position, source)
        if blocked is not None:
            blocked = blocked.expand(len(query), 1, query.shape[1], key.shape[1])[:1, :, rows]
        parts = self.terms(content, position, source) if isinstance(source, Memory) else None
        products = {} if parts is None else products_of(parts, rows, self.heads)
        query, key, value = (in_heads(x[:1], self.heads) for x in (query[:, rows], key, value))
        return Look(weights=scores(query, key, blocked).softmax(-1)[0], values=value[0], **products)


class SelfAttention(Attention):
    """DETR's attention among queries: positions are added to content."""

    def reset_special_weights(self) -> None:
        """The original applies Xavier to the three projections as one (3 * dim, dim) matrix; its bias is 0."""
        super().reset_special_weights()
        for projection in (self.query, self.key, self.value):
            nn.init.xavier_uniform_(projection.weight, gain=0.5**0.5)
            nn.init.zeros_(projection.bias)

    def project(self, content: Tensor, position: Position, blocked: Tensor | None) -> Projected:
        positioned = content + position.embed
        return Projected(self.query(positioned), self.key(positioned), self.value(content), blocked)


class CrossAttention(SelfAttention):
    """DETR's attention over the memory, whose position is added to its content. The encoder uses it on the memory
    itself."""

    splits_axes = False

    def project(self, content: Tensor, position: Position, memory: Memory) -> Projected:
        query = self.query(content + position.embed)
        key = self.key(memory.content + memory.position)
        return Projected(query, key, self.value(memory.content), memory.padding[:, None, None])

    def terms(self, content: Tensor, position: Position, memory: Memory) -> Terms:
        return Terms(
            content_query=self.query(content),
            position_query=F.linear(position.embed.to(self.query.weight.dtype), self.query.weight),
            content_key=self.key(memory.content),
            position_key=F.linear(memory.position.to(self.key.weight.dtype), self.key.weight),
        )


class ConditionalSelfAttention(Attention):
    """Attention among queries. Content and position have separate projections, which are added."""

    def __init__(self, *, dim: int, heads: int, dropout: float = 0.0):
        super().__init__(dim=dim, heads=heads, dropout=dropout)
        self.query_position, self.key_position = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def project(self, content: Tensor, position: Position, blocked: Tensor | None) -> Projected:
        query = self.query(content) + self.query_position(position.embed)
        key = self.key(content) + self.key_position(position.embed)
        return Projected(query, key, self.value(content), blocked)


class ConditionalCrossAttention(Attention):
    """Attention over the memory whose scores are content . content + position . position, separately in each head.

    The spatial query (Eq. 6 of the paper, with the width and height modulation already in it) is concatenated to
    the content query inside each head, and the memory's position to its content, so the two products are summed.
    """

    splits_axes, needs = False, (SPATIAL,)

    def __init__(self, *, dim: int, heads: int, dropout: float = 0.0):
        super().__init__(dim=dim, heads=heads, dropout=dropout)
        self.query_spatial, self.key_position = nn.Linear(dim, dim), nn.Linear(dim, dim)

    def project(self, content: Tensor, position: Position, memory: Memory) -> Projected:
        key_position = self.key_position(memory.position)
        query = self.join(self.content_query(content, position), self.query_spatial(position.spatial))
        key = self.join(self.content_key(memory, key_position), key_position)
        return Projected(query, key, self.value(memory.content), memory.padding[:, None, None])

    def terms(self, content: Tensor, position: Position, memory: Memory) -> Terms:
        whole = self.project(content, position, memory)
        query, key = self.query(content), self.key(memory.content)
        content_query = self.join(query, torch.zeros_like(query))
        content_key = self.join(key, torch.zeros_like(key))
        return Terms(content_query, whole.query - content_query, content_key, whole.key - content_key)

    def content_query(self, content: Tensor, position: Position) -> Tensor:
        return self.query(content)

    def content_key(self, memory: Memory, key_position: Tensor) -> Tensor:
        return self.key(memory.content)

    def join(self, content: Tensor, position: Tensor) -> Tensor:
        """(B, N, C) and (B, N, C) to (B, N, 2C), concatenated inside each head."""
        heads = (self.heads, -1)
        return torch.cat([content.unflatten(-1, heads), position.unflatten(-1, heads)], -1).flatten(-2)


class PositionedCrossAttention(ConditionalCrossAttention):
    """Conditional cross-attention that also adds position to content on both sides.

    The first decoder layer needs it, because its content is not informative yet. `keep_query_pos` uses it in every
    layer.
    """

    def __init__(self, *, dim: int, heads: int, dropout: float = 0.0):
        super().__init__(dim=dim, heads=heads, dropout=dropout)
        self.query_position = nn.Linear(dim, dim)

    def content_query(self, content: Tensor, position: Position) -> Tensor:
        return self.query(content) + self.query_position(position.embed)

    def content_key(self, memory: Memory, key_position: Tensor) -> Tensor:
        return self.key(memory.content) + key_position
