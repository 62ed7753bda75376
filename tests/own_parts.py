"""Parts as a user's own package has them: nothing of dab_detr knows this module."""

from torch import Tensor, nn

from dab_detr.engine.optimizer import ClippedAdamW
from dab_detr.modeling.part import ANCHORS, SPATIAL, Part
from dab_detr.modeling.positional import sine_embedding
from dab_detr.modeling.structures import Memory, Position, Queries


class CenterPrior(Part, nn.Module):
    """DAB-DETR's positions from the centers of anchors alone, by one linear layer."""

    needs, gives = (ANCHORS,), (SPATIAL,)

    def __init__(self, *, dim: int):
        super().__init__()
        self.dim, self.embed = dim, nn.Linear(dim, dim)

    def forward(self, queries: Queries, memory: Memory, layer: int) -> Position:
        sine: Tensor = sine_embedding(queries.anchors[..., :2], self.dim // 2)
        return Position(embed=self.embed(sine), spatial=sine)


class OwnAdamW(ClippedAdamW):
    """An optimizer by another name."""
