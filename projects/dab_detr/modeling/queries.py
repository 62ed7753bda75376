"""Query heads: they give the queries that the decoder starts from."""

import torch
from torch import Tensor, nn

from .boxes import inverse_sigmoid
from .layers import init_xavier
from .part import ANCHORS, LEARNED, Part
from .structures import Memory, Queries


class AnchorBoxQueries(Part, nn.Module):
    """The anchor-box query head. Its positional queries are learned anchors; its content is zero, learned, or patterns.

    Anchors are learned as logits, `centre` (num_queries, 2) and, for boxes, `size` (num_queries, 2).

    learned_content: each anchor has its own content, as in DAB-Deformable-DETR; otherwise it starts at zero.
    num_patterns: 0, or the number of learned vectors that are added to the content of every anchor (the models with
        "3 patterns"). The decoder then has num_patterns * num_queries queries, pattern by pattern.
    anchor_dim: 4 for boxes cxcywh, 2 for points.
    uniform_xy: the centers start uniformly distributed over the image; otherwise anchor logits are drawn from N(0, 1).
    fixed_xy: the centers start like that and stay there. They are a buffer then: no gradient, no weight decay.
    from_boxes: a training from scratch calls `start_from` with boxes that are typical of its data.
    """

    gives = (ANCHORS,)

    def __init__(
        self,
        *,
        num_queries: int,
        dim: int,
        anchor_dim: int = 4,
        learned_content: bool = False,
        num_patterns: int = 0,
        uniform_xy: bool = False,
        fixed_xy: bool = False,
        from_boxes: bool = False,
    ):
        super().__init__()
        if anchor_dim not in (2, 4):
            raise ValueError(f"anchor_dim must be 2 (points) or 4 (boxes), got {anchor_dim}")
        self.num_queries, self.dim, self.num_patterns = num_queries, dim, num_patterns
        self.anchor_dim, self.from_boxes = anchor_dim, from_boxes
        centre = torch.randn(num_queries, 2)
        if uniform_xy or fixed_xy:
            # Parameters are sent to other processes, buffers are not: all must draw the same fixed centers.
            generator = torch.Generator().manual_seed(0) if fixed_xy else None
            centre = inverse_sigmoid(torch.rand(num_queries, 2, generator=generator), eps=1e-3)
        if fixed_xy:
            self.register_buffer("centre", centre)
        else:
            self.centre = nn.Parameter(centre)
        if anchor_dim == 4:
            self.size = nn.Parameter(torch.randn(num_queries, 2))
        if learned_content:
            self.content = nn.Parameter(torch.randn(num_queries, dim))
        else:
            self.register_buffer("content", torch.zeros(num_queries, dim), persistent=False)
        if num_patterns:
            self.patterns = nn.Parameter(torch.randn(num_patterns, dim))

    @torch.no_grad()
    def start_from(self, boxes: Tensor) -> None:
        """Start the first N anchors from boxes (N, 4), normalized cxcywh. The other anchors keep their start.

        Raises ValueError for more boxes than queries.
        """
        if len(boxes) > self.num_queries:
            raise ValueError(f"{len(boxes)} boxes are more than the {self.num_queries} queries that could start there")
        logits = inverse_sigmoid(boxes.to(self.centre), eps=1e-3)
        self.centre[: len(boxes)] = logits[:, :2]
        if self.anchor_dim == 4:
            self.size[: len(boxes)] = logits[:, 2:]

    def forward(self, memory: Memory) -> Queries:
        """num_queries queries for each image, or num_patterns * num_queries."""
        logits = torch.cat([self.centre, self.size], -1) if self.anchor_dim == 4 else self.centre
        content, anchors = self.content, logits.sigmoid()
        if self.num_patterns:
            content = (self.patterns[:, None] + content).flatten(0, 1)
            anchors = anchors.repeat(self.num_patterns, 1)
        return Queries(content=per_image(content, memory), anchors=per_image(anchors, memory))


class AnchorPointQueries(Part, nn.Module):
    """Anchor DETR's queries: learned points (num_queries, 2), each combined with every pattern."""

    gives, anchor_dim = (ANCHORS,), 2

    def __init__(self, *, num_queries: int, dim: int, num_patterns: int):
        super().__init__()
        self.num_queries, self.dim = num_queries, dim
        self.points = nn.Parameter(torch.rand(num_queries, 2))
        self.patterns = nn.Parameter(torch.randn(num_patterns, dim))

    def forward(self, memory: Memory) -> Queries:
        """num_patterns * num_queries queries, pattern by pattern."""
        content = self.patterns.repeat_interleave(self.num_queries, 0)
        anchors = self.points.repeat(len(self.patterns), 1)
        return Queries(content=per_image(content, memory), anchors=per_image(anchors, memory))


class LearnedQueries(Part, nn.Module):
    """Queries with a learned position (num_queries, dim), from which a head may compute an anchor.

    point_head: (Q, dim) to the logits (Q, D) of anchors: D = 2 in Conditional DETR and Deformable DETR. DETR has no
        anchors and no head (None).
    learned_content: as in Deformable DETR; otherwise content starts at zero.
    """

    def __init__(
        self,
        *,
        num_queries: int,
        dim: int,
        point_head: nn.Module | None = None,
        learned_content: bool = False,
        num_patterns: int = 0,
    ):
        super().__init__()
        if num_patterns:
            raise ValueError(
                "model.queries.num_patterns needs anchors to repeat; the queries of this model are learned positions"
            )
        self.num_queries, self.dim, self.point_head = num_queries, dim, point_head
        if point_head is None:
            self.anchor_dim = 0
        else:
            init_xavier(point_head)
        self.gives = (LEARNED,) if point_head is None else (LEARNED, ANCHORS)
        self.embed = nn.Parameter(torch.randn(num_queries, dim))
        if learned_content:
            self.content = nn.Parameter(torch.randn(num_queries, dim))
        else:
            self.register_buffer("content", torch.zeros(num_queries, dim), persistent=False)

    def forward(self, memory: Memory) -> Queries:
        """num_queries queries for each image of a batch."""
        anchors = self.embed[:, :0] if self.point_head is None else self.point_head(self.embed).sigmoid()
        content, anchors, embed = (per_image(x, memory) for x in (self.content, anchors, self.embed))
        return Queries(content=content, anchors=anchors, embed=embed)


def per_image(x: Tensor, memory: Memory) -> Tensor:
    """Repeat (Q, C) for every image of the memory, to (B, Q, C)."""
    return x.expand(memory.content.shape[0], -1, -1)
