"""Two-stage queries: the encoder proposes boxes, and the best of them become the decoder's anchors."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from .boxes import move_anchors
from .part import ANCHORS, LEARNED, Part
from .positional import sine_embedding
from .structures import ABSENT, EMPTY, MATCHING, Memory, Prediction, Queries, blocked_between


class ProposalQueries(Part, nn.Module):
    """Every cell of the memory proposes a box; the `num_queries` best become queries, all cells if there are fewer.

    The anchors are the chosen boxes, the content is what the encoder saw there (as in DAB-Deformable-DETR, two-stage);
    neither carries a gradient: the encoder learns from a loss of its own on `Queries.proposals`.

    class_head, box_head: the encoder's, on the transformed memory (..., dim).
    class_agnostic: rank by the logit of class 0, as the original Deformable DETR does; else by the best class. The
        criterion must be told too: proposals then learn only to tell objects from background there.
    dense: whether all cells have a loss, or the chosen ones only; the default is that of the originals, all cells where
        class 0 ranks them.
    size: side of the boxes that cells of the first level start from, normalized; doubled from level to level. On maps
        of stride 8 it is 0.05, so on one map of stride 32 it should be 0.2.

    Cells in the padding or at the very border propose nothing. Memories that are not exact let them be chosen all the
    same, as the originals do; else they say that nothing is there (`Queries.empty`).
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
        """num_queries queries for each image, or as many as the memory has cells."""
        logits, valid = proposal_logits(memory, self.size)
        features = self.norm(self.transform(memory.content.masked_fill(~valid[..., None], 0.0)))
        classes = self.class_head(features)
        classes = classes.masked_fill(~valid[..., None], ABSENT) if memory.exact else classes
        proposals = Prediction(classes[None], move_anchors(self.box_head(features), logits)[None])
        scores = classes[..., 0] if self.class_agnostic else classes.amax(-1)
        index = scores.topk(min(self.num_queries, scores.shape[1]), 1).indices[..., None]
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
        """Content (B, Q, C) of the queries and their learned position, by the chosen boxes (B, Q, 4), features
        (B, Q, C) and cells of the memory (B, Q, C)."""
        return features.detach(), None


class EncodedProposalQueries(ProposalQueries):
    """Two-stage queries whose content and learned position are both made from the chosen box: Deformable DETR's."""

    gives = (ANCHORS, LEARNED)

    def __init__(self, *, num_queries: int, dim: int, **options):
        super().__init__(num_queries=num_queries, dim=dim, **options)
        self.encode, self.encode_norm = nn.Linear(2 * dim, 2 * dim), nn.LayerNorm(2 * dim)
        nn.init.xavier_uniform_(self.encode.weight)
        nn.init.zeros_(self.encode.bias)

    def describe(self, anchors: Tensor, features: Tensor, cells: Tensor) -> tuple[Tensor, Tensor | None]:
        x, y, *size = anchors.split(1, -1)
        sine = sine_embedding(torch.cat([y, x, *size], -1), self.dim // 2)  # comes out in the order x, y, w, h
        embed, content = self.encode_norm(self.encode(sine.to(features.dtype))).chunk(2, -1)
        return content, embed


class MixedProposalQueries(ProposalQueries):
    """Two-stage queries with learned content, the k-th best box with the k-th vector: DINO's mixed query selection."""

    def __init__(self, *, num_queries: int, dim: int, **options):
        super().__init__(num_queries=num_queries, dim=dim, **options)
        self.content = nn.Parameter(nn.init.xavier_uniform_(torch.empty(num_queries, dim)))

    def describe(self, anchors: Tensor, features: Tensor, cells: Tensor) -> tuple[Tensor, Tensor | None]:
        return self.content[: anchors.shape[1]].expand(len(anchors), -1, -1), None


class MemoryProposalQueries(ProposalQueries):
    """Two-stage queries whose content is the memory at the chosen cells, through which the decoder's losses reach the
    encoder: Efficient DETR's."""

    def describe(self, anchors: Tensor, features: Tensor, cells: Tensor) -> tuple[Tensor, Tensor | None]:
        return cells, None


def take(x: Tensor, index: Tensor) -> Tensor:
    """Rows (B, Q, 1) of (1, B, S, C), to (1, B, Q, C)."""
    return x.gather(2, index.expand(-1, -1, x.shape[-1])[None])


def proposal_logits(memory: Memory, size: float) -> tuple[Tensor, Tensor]:
    """Logits (B, S, 4) of the box that each cell starts from, and whether the cell is valid (B, S).

    Cells in the padding are not, nor are those whose box has a coordinate outside of (0.01, 0.99); their logits are
    infinite, which makes their boxes (1, 1, 1, 1) whatever the box head says.
    """
    centers = memory.centers()
    sides = torch.cat([centers.new_full((h * w, 2), size * 2.0**level) for level, (h, w) in enumerate(memory.shapes)])
    sides = sides.expand(centers.shape[0], -1, -1)
    boxes = torch.cat([centers, sides], -1)
    valid = ((boxes > 0.01) & (boxes < 0.99)).all(-1) & ~memory.padding
    return torch.logit(boxes).masked_fill(~valid[..., None], torch.inf), valid
