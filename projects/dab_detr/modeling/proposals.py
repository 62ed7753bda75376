"""Two-stage queries: the encoder proposes boxes, and the best of them become the decoder's anchors."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from .boxes import move_anchors
from .part import ANCHORS, LEARNED, Part
from .positional import sine_embedding
from .structures import ABSENT, EMPTY, MATCHING, Memory, Prediction, Queries, at_most, blocked_between


class ProposalQueries(Part, nn.Module):
    """Turns the best boxes into queries. Every cell proposes a box; all become queries if there are few cells.

    The anchors are the chosen boxes, and the content is the transformed memory of their cells (as in
    DAB-Deformable-DETR, two-stage). Both are detached: the encoder learns from a separate loss on `Queries.proposals`.

    num_queries: number of queries, if the memory has that many cells.
    class_head, box_head: the encoder's, on the transformed memory (..., dim).
    class_agnostic: rank by the logit of class 0, as the original Deformable DETR does; otherwise by the best class. Set
        it for the criterion too: proposals then only learn to tell objects from background, as class 0.
    dense: whether all cells have a loss, or only the chosen ones. The default follows the originals: all cells if
        `class_agnostic`.
    size: side of the initial boxes of cells of the first level, normalized; it doubles from level to level. On maps of
        stride 8 it is 0.05, so on one map of stride 32 it should be 0.2.

    Cells in the padding or at the border propose nothing. If the memory is not exact, they may still be chosen, as in
    the originals. If it is exact, their queries are empty (`Queries.empty`).
    """

    gives, anchor_dim = (ANCHORS,), 4

    def __init__(
        self,
        *,
        num_queries: int,
        dim: int,
        class_head: nn.Module,
        box_head: nn.Module,
        class_agnostic: bool = False,
        dense: bool | None = None,
        size: float = 0.05,
    ):
        super().__init__()
        self.num_queries, self.dim, self.memory_dim = num_queries, dim, dim
        self.class_agnostic, self.size = class_agnostic, size
        self.dense = class_agnostic if dense is None else dense
        self.transform, self.norm = nn.Linear(dim, dim), nn.LayerNorm(dim)
        nn.init.xavier_uniform_(self.transform.weight)
        nn.init.zeros_(self.transform.bias)
        self.class_head, self.box_head = class_head, box_head

    def forward(self, memory: Memory) -> Queries:
        """num_queries queries for each image, or one per cell if the memory has fewer cells."""
        logits, valid = proposal_logits(memory, self.size)
        features = self.norm(self.transform(memory.content.masked_fill(~valid[..., None], 0.0)))
        classes = self.class_head(features)
        classes = classes.masked_fill(~valid[..., None], ABSENT) if memory.exact else classes
        proposals = Prediction(classes[None], move_anchors(self.box_head(features), logits)[None])
        scores = classes[..., 0] if self.class_agnostic else classes.amax(-1)
        index = scores.topk(at_most(self.num_queries, scores.shape[1]), 1).indices[..., None]
        chosen = Prediction(take(proposals.logits, index), take(proposals.boxes, index))
        anchors = chosen.boxes[-1].detach()
        content, embed = self.describe(anchors, take(features[None], index)[-1], take(memory.content[None], index)[-1])
        queries = Queries(content, anchors, embed, proposals=proposals if self.dense else chosen)
        if not memory.exact:
            return queries
        empty = ~take(valid[None, ..., None], index)[-1, ..., 0]
        blocked = blocked_between(torch.where(empty, EMPTY, MATCHING))
        return replace(queries, empty=empty, blocked=blocked)

    def describe(self, anchors: Tensor, features: Tensor, cells: Tensor) -> tuple[Tensor, Tensor | None]:
        """Content (B, Q, C) and learned position of the queries, from the chosen boxes (B, Q, 4), their features
        (B, Q, C) and their cells of the memory (B, Q, C)."""
        return features.detach(), None


class EncodedProposalQueries(ProposalQueries):
    """Deformable DETR's two-stage queries: the chosen box gives both the content and the learned position."""

    gives = (ANCHORS, LEARNED)

    def __init__(self, *, num_queries: int, dim: int, **options):
        super().__init__(num_queries=num_queries, dim=dim, **options)
        self.encode, self.encode_norm = nn.Linear(2 * dim, 2 * dim), nn.LayerNorm(2 * dim)
        nn.init.xavier_uniform_(self.encode.weight)
        nn.init.zeros_(self.encode.bias)

    def describe(self, anchors: Tensor, features: Tensor, cells: Tensor) -> tuple[Tensor, Tensor | None]:
        x, y, *size = anchors.split(1, -1)
        sine = sine_embedding(torch.cat([y, x, *size], -1), self.dim // 2)  # the result has the order x, y, w, h
        embed, content = self.encode_norm(self.encode(sine.to(features.dtype))).chunk(2, -1)
        return content, embed


class MixedProposalQueries(ProposalQueries):
    """DINO's mixed query selection: two-stage anchors with learned content, the k-th vector for the k-th best box.

    xavier: whether the content starts Xavier-uniform, as DINO's does; Co-DETR's is drawn from N(0, 1).
    """

    def __init__(self, *, num_queries: int, dim: int, xavier: bool = True, **options):
        super().__init__(num_queries=num_queries, dim=dim, **options)
        self.content = nn.Parameter(torch.randn(num_queries, dim))
        if xavier:
            nn.init.xavier_uniform_(self.content)

    def describe(self, anchors: Tensor, features: Tensor, cells: Tensor) -> tuple[Tensor, Tensor | None]:
        _, embed = super().describe(anchors, features, cells)
        return self.content[: anchors.shape[1]].expand(anchors.shape[0], -1, -1), embed


class MixedEncodedProposalQueries(MixedProposalQueries, EncodedProposalQueries):
    """Co-Deformable-DETR's two-stage queries: learned content, and a learned position from the chosen box."""

    gives = EncodedProposalQueries.gives


class MemoryProposalQueries(ProposalQueries):
    """Efficient DETR's two-stage queries: the content is the memory at the chosen cells, through which the decoder's
    losses reach the encoder."""

    def describe(self, anchors: Tensor, features: Tensor, cells: Tensor) -> tuple[Tensor, Tensor | None]:
        return cells, None


def take(x: Tensor, index: Tensor) -> Tensor:
    """Rows (B, Q, 1) of (1, B, S, C), to (1, B, Q, C)."""
    return x.gather(2, index.expand(-1, -1, x.shape[-1])[None])


def proposal_logits(memory: Memory, size: float) -> tuple[Tensor, Tensor]:
    """Logits (B, S, 4) of the initial box of each cell, and whether the cell is valid (B, S).

    Cells in the padding are invalid, and so are cells whose box has a coordinate outside (0.01, 0.99). Their logits are
    infinite, which makes their boxes (1, 1, 1, 1) for every output of the box head.
    """
    centers = memory.centers()
    sides = torch.cat([centers.new_full((h * w, 2), size * 2.0**level) for level, (h, w) in enumerate(memory.shapes)])
    sides = sides.expand(centers.shape[0], -1, -1)
    boxes = torch.cat([centers, sides], -1)
    valid = ((boxes > 0.01) & (boxes < 0.99)).all(-1) & ~memory.padding
    return torch.logit(boxes).masked_fill(~valid[..., None], torch.inf), valid
