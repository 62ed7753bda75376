"""Two-stage queries: the encoder proposes boxes, and the best of them become the decoder's anchors."""

import torch
from torch import Tensor, nn

from .boxes import move_anchors
from .part import ANCHORS, LEARNED, Part
from .positional import sine_embedding
from .structures import Memory, Prediction, Queries


class ProposalQueries(Part, nn.Module):
    """Every cell of the memory proposes a box; the `num_queries` best become queries.

    The anchors are the chosen boxes, the content is what the encoder saw there (as in DAB-Deformable-DETR, two-stage);
    neither carries a gradient: the encoder learns from a loss of its own on `Queries.proposals`.

    class_head, box_head: the encoder's, on the transformed memory (..., dim).
    class_agnostic: rank by the logit of class 0 and train all cells to tell objects from background there, as the
        original Deformable DETR does; else rank by the best class and train the chosen cells on their true classes.
    size: side of the boxes that cells of the first level start from, normalized; doubled from level to level.
    """

    gives, anchor_dim = (ANCHORS,), 4

    def __init__(
        self,
        *,
        num_queries: int,
        dim: int,
        class_head: nn.Module,
        box_head: nn.Module,
        class_agnostic: bool,
        size: float = 0.05,
    ):
        super().__init__()
        self.num_queries, self.dim, self.memory_dim = num_queries, dim, dim
        self.class_agnostic, self.size = class_agnostic, size
        self.transform, self.norm = nn.Linear(dim, dim), nn.LayerNorm(dim)
        nn.init.xavier_uniform_(self.transform.weight)
        nn.init.zeros_(self.transform.bias)
        self.class_head, self.box_head = class_head, box_head

    def forward(self, memory: Memory) -> Queries:
        """num_queries queries for each image. Raises ValueError where the memory has fewer cells."""
        if memory.content.shape[1] < self.num_queries:
            raise ValueError(
                f"model.queries.num_queries={self.num_queries}, but images of this size have only "
                f"{memory.content.shape[1]} cells to choose from: use fewer queries or larger images"
            )
        logits, valid = proposal_logits(memory, self.size)
        features = self.norm(self.transform(memory.content.masked_fill(~valid[..., None], 0.0)))
        proposals = Prediction(self.class_head(features)[None], move_anchors(self.box_head(features), logits)[None])
        classes = proposals.logits[-1]
        scores = classes[..., 0] if self.class_agnostic else classes.amax(-1)
        index = scores.topk(self.num_queries, 1).indices[..., None]
        chosen = Prediction(take(proposals.logits, index), take(proposals.boxes, index))
        return self.queries(
            take(features[None], index)[-1].detach(),
            chosen.boxes[-1].detach(),
            proposals if self.class_agnostic else chosen,
        )

    def queries(self, features: Tensor, anchors: Tensor, proposals: Prediction) -> Queries:
        """Queries from the chosen features (B, Q, C) and boxes (B, Q, 4)."""
        return Queries(content=features, anchors=anchors, proposals=proposals)


class EncodedProposalQueries(ProposalQueries):
    """Two-stage queries whose content and learned position are both made from the chosen box: Deformable DETR's."""

    gives = (ANCHORS, LEARNED)

    def __init__(self, *, num_queries: int, dim: int, **options):
        super().__init__(num_queries=num_queries, dim=dim, **options)
        self.encode, self.encode_norm = nn.Linear(2 * dim, 2 * dim), nn.LayerNorm(2 * dim)
        nn.init.xavier_uniform_(self.encode.weight)
        nn.init.zeros_(self.encode.bias)

    def queries(self, features: Tensor, anchors: Tensor, proposals: Prediction) -> Queries:
        x, y, *size = anchors.split(1, -1)
        sine = sine_embedding(torch.cat([y, x, *size], -1), self.dim // 2)  # comes out in the order x, y, w, h
        embed, content = self.encode_norm(self.encode(sine.to(features.dtype))).chunk(2, -1)
        return Queries(content=content, anchors=anchors, embed=embed, proposals=proposals)


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
