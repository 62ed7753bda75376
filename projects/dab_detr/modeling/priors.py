"""Priors turn anchors into positions: they decide where a query looks."""

import torch
from torch import Tensor, nn

from .boxes import full_precision
from .layers import MLP
from .part import ANCHORS, ENCODED, LEARNED, SPATIAL, Part
from .positional import sine_embedding
from .structures import Memory, Position, Queries


class ContentScale(nn.Module):
    """Conditional DETR's transformation T: content (B, Q, C) to factors (B, Q, out_dim) of the spatial query.

    out_dim is C (one factor per channel) or 1 (one per query). In the first layer the factors are 1, because its
    content is not informative yet.
    """

    def __init__(self, *, dim: int, out_dim: int):
        super().__init__()
        self.mlp = MLP(dim, dim, out_dim)

    def forward(self, content: Tensor, layer: int) -> Tensor:
        return self.mlp(content) if layer else torch.ones_like(content[..., :1])


class LayerScale(nn.Module):
    """The factors of the spatial query as a learned vector (C,) for each layer, independent of the content."""

    def __init__(self, *, num_layers: int, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(num_layers, dim).normal_())

    def forward(self, content: Tensor, layer: int) -> Tensor:
        return self.weight[layer]


class NoScale(nn.Module):
    """DINO's scale: none, so the position stays unchanged."""

    def forward(self, content: Tensor, layer: int) -> Tensor:
        return content.new_ones(())


class AnchorPrior(Part, nn.Module):
    """Positions from anchors: P_q = MLP(PE(A_q)) (Eq. 3 of the paper) and a spatial query PE(x, y) * scale (Eq. 5).

    anchor_dim is 4 for boxes, 2 for the ablation with points. `temperature` belongs to the encoding of the anchors:
    10000 in every released checkpoint, although the paper says 20.
    """

    needs, gives = (ANCHORS,), (SPATIAL,)

    def __init__(self, *, dim: int, anchor_dim: int, scale: nn.Module, temperature: float = 10000.0):
        super().__init__()
        self.dim, self.anchor_dim, self.temperature = dim, anchor_dim, temperature
        self.embed = MLP(anchor_dim * dim // 2, dim, dim)
        self.scale = scale

    def forward(self, queries: Queries, memory: Memory, layer: int) -> Position:
        """Position of the queries that enter decoder layer `layer`."""
        sine = sine_embedding(queries.anchors[..., : self.anchor_dim], self.dim // 2, self.temperature)
        spatial = sine[..., : self.dim] * self.scale(queries.content, layer)
        return Position(embed=self.embed(sine), spatial=spatial)


class ModulatedAnchorPrior(AnchorPrior):
    """AnchorPrior that adapts attention to the width and height of the anchor box: Eq. 6 of the paper.

    The x half of the spatial query is multiplied by w_ref / w, the y half by h_ref / h. The reference size comes from
    the content. Wide boxes spread their attention along x, flat boxes concentrate it along y.
    """

    def __init__(self, *, dim: int, anchor_dim: int, scale: nn.Module, temperature: float = 10000.0):
        super().__init__(dim=dim, anchor_dim=anchor_dim, scale=scale, temperature=temperature)
        if anchor_dim != 4:
            raise ValueError(f"width and height modulation needs anchor_dim=4, got {anchor_dim}: points have no size")
        self.reference_size = MLP(dim, dim, 2)

    def forward(self, queries: Queries, memory: Memory, layer: int) -> Position:
        position = self.unmodulated(queries, memory, layer)
        ratio = self.modulation(queries).flip(-1)  # (h, w), because the halves are y, x
        return position._replace(spatial=position.spatial * ratio.repeat_interleave(self.dim // 2, -1))

    def unmodulated(self, queries: Queries, memory: Memory, layer: int) -> Position:
        """The position that `forward` would give without the modulation."""
        return super().forward(queries, memory, layer)

    def modulation(self, queries: Queries) -> Tensor:
        """Ratios (B, Q, 2) w_ref / w and h_ref / h."""
        reference = full_precision(self.reference_size(queries.content)).sigmoid()
        return reference / full_precision(queries.anchors[..., 2:])


class DeformableAnchorPrior(Part, nn.Module):
    """Positions for deformable attention: P_q = MLP(PE(A_q)) * scale, and the anchor boxes to sample around.

    Anchors are measured in the whole padded map of the first level, as in DAB-Deformable-DETR, or in the image if the
    memory is exact. anchor_dim is 4, or 2 to take positions only from the centers.
    """

    needs, gives = (ANCHORS,), (ANCHORS,)

    def __init__(self, *, dim: int, anchor_dim: int, scale: nn.Module, temperature: float = 10000.0):
        super().__init__()
        self.dim, self.anchor_dim, self.temperature, self.scale = dim, anchor_dim, temperature, scale
        self.embed = MLP(anchor_dim * dim // 2, dim, dim)

    def forward(self, queries: Queries, memory: Memory, layer: int) -> Position:
        anchors = queries.anchors[..., : self.anchor_dim]
        if not memory.exact:
            anchors = anchors * memory.valid_ratios[:, :1].repeat(1, 1, self.anchor_dim // 2)
        embed = self.embed(sine_embedding(anchors, self.dim // 2, self.temperature))
        return Position(embed=embed * self.scale(queries.content, layer), anchors=queries.anchors)


class StaticPrior(Part, nn.Module):
    """The prior of DETR and Deformable DETR: learned positions, the same in every layer."""

    needs, gives = (LEARNED,), (ANCHORS,)

    def forward(self, queries: Queries, memory: Memory, layer: int) -> Position:
        return Position(embed=queries.embed, anchors=queries.anchors)


class ConditionalPrior(Part, nn.Module):
    """Conditional DETR's prior: learned positions, and a spatial query PE(x, y) * scale for its cross-attention."""

    needs, gives = (LEARNED, ANCHORS), (SPATIAL,)

    def __init__(self, *, dim: int, scale: nn.Module, temperature: float = 10000.0):
        super().__init__()
        self.dim, self.temperature, self.scale = dim, temperature, scale

    def forward(self, queries: Queries, memory: Memory, layer: int) -> Position:
        sine = sine_embedding(queries.anchors[..., :2], self.dim // 2, self.temperature)
        return Position(embed=queries.embed, spatial=sine * self.scale(queries.content, layer))


class AnchorPointPrior(Part, nn.Module):
    """Anchor DETR's prior: P_q = MLP(PE(x, y)) from anchor points, and the points in the encoding of the memory's
    cells, which image and queries share."""

    needs, gives = (ANCHORS,), (SPATIAL, ENCODED)

    def __init__(self, *, dim: int, temperature: float = 10000.0):
        super().__init__()
        self.dim, self.temperature = dim, temperature
        self.embed = MLP(dim, dim, dim)

    def forward(self, queries: Queries, memory: Memory, layer: int) -> Position:
        sine = sine_embedding(queries.anchors[..., :2], self.dim // 2, self.temperature)
        return Position(embed=self.embed(sine), spatial=memory.encode(queries.anchors[..., :2]))
