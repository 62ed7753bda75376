"""Query heads: what the decoder starts from."""

import torch
from torch import Tensor, nn

from .boxes import inverse_sigmoid
from .structures import Queries


class AnchorBoxQueries(nn.Module):
    """The anchor-box query head: learned anchors as positional queries, zeros or learned patterns as content.

    Anchors are learned as logits, `centre` (num_queries, 2) and, for boxes, `size` (num_queries, 2).

    num_patterns: 0, or how many learned contents are tried at every anchor (the models with "3 patterns"); the
        decoder then has num_patterns * num_queries queries, pattern by pattern.
    anchor_dim: 4 for boxes cxcywh, 2 for points.
    uniform_xy: spread the centres evenly over the image at the start, where else anchors are N(0, 1) logits.
    fixed_xy: centres stay as they start (spread evenly). They are a buffer then: no gradient, no weight decay.
    """

    def __init__(
        self,
        *,
        num_queries: int,
        dim: int,
        anchor_dim: int = 4,
        num_patterns: int = 0,
        uniform_xy: bool = False,
        fixed_xy: bool = False,
    ):
        super().__init__()
        if anchor_dim not in (2, 4):
            raise ValueError(f"anchor_dim must be 2 (points) or 4 (boxes), got {anchor_dim}")
        self.num_queries, self.dim, self.num_patterns = num_queries, dim, num_patterns
        self.anchor_dim = anchor_dim
        centre = torch.randn(num_queries, 2)
        if uniform_xy or fixed_xy:
            centre = inverse_sigmoid(torch.rand(num_queries, 2), eps=1e-3)
        if fixed_xy:
            self.register_buffer("centre", centre)
        else:
            self.centre = nn.Parameter(centre)
        if anchor_dim == 4:
            self.size = nn.Parameter(torch.randn(num_queries, 2))
        if num_patterns:
            self.patterns = nn.Parameter(torch.randn(num_patterns, dim))

    def forward(self, batch_size: int) -> Queries:
        """Queries of num_queries, or num_patterns * num_queries, for each image of a batch."""
        logits = torch.cat([self.centre, self.size], -1) if self.anchor_dim == 4 else self.centre
        anchors = logits.sigmoid().repeat(self.num_patterns or 1, 1)
        return Queries(
            content=self.content().expand(batch_size, -1, -1),
            anchors=anchors.expand(batch_size, -1, -1),
        )

    def content(self) -> Tensor:
        """(Q, C), the same for every image."""
        if self.num_patterns:
            return self.patterns.repeat_interleave(self.num_queries, 0)
        return self.centre.new_zeros(self.num_queries, self.dim)
