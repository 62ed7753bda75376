"""Detectors on several feature maps: Deformable DETR and DAB-Deformable-DETR, each also in two stages, and DINO."""

from detectron2.config import LazyCall as L
from omegaconf import DictConfig
from torch import nn

from ..detector import DABDETR
from ..modeling.layers import MLP
from ..modeling.priors import ContentScale, DeformableAnchorPrior, NoScale, StaticPrior
from ..modeling.proposals import (
    EncodedProposalQueries,
    MemoryProposalQueries,
    MixedEncodedProposalQueries,
    MixedProposalQueries,
    ProposalQueries,
)
from ..modeling.queries import LearnedQueries
from ..modeling.transformer import Decoder, DetachedAnchors, FixedAnchors, RefinedAnchors
from . import nodes
from .backbones import resnet_node
from .builders import deformable_encoder, deformable_layers
from .collaborating import collaboration_node


def deformable_prior(
    *, dim: int, anchor_dim: int, temperature: float = 10000.0, scaled: bool = True
) -> DeformableAnchorPrior:
    """DAB-Deformable-DETR's prior with its scale, or DINO's without one."""
    scale = ContentScale(dim=dim, out_dim=dim) if scaled else NoScale()
    return DeformableAnchorPrior(dim=dim, anchor_dim=anchor_dim, scale=scale, temperature=temperature)


def point_head(*, dim: int) -> MLP:
    """One linear layer to the logits of a point. Its bias starts at zero."""
    head = MLP(dim, 2)
    nn.init.zeros_(head[0].bias)
    return head


def deformable_node(
    *, depth: int, hidden: int, dropout: float, refine: bool, two_stage: bool, prior: DictConfig, eps: float, **parts
) -> DictConfig:
    """The node that all of them share; `parts` are queries, denoising, criterion and selection."""
    return L(DABDETR)(
        backbone=resnet_node(depth, out_features=("res3", "res4", "res5")),
        neck=nodes.multi_scale_node(),
        encoder=nodes.encoder_node(
            deformable_encoder, hidden=hidden, dropout=dropout, levels="${..neck.num_levels}", points=4
        ),
        decoder=L(Decoder)(
            layers=nodes.layers_node(deformable_layers, levels="${...neck.num_levels}", points="${...encoder.points}"),
            prior=prior,
            norm=L(nn.Identity)(),
            **nodes.heads_nodes(
                shared_classes=not refine, shared_boxes=not refine, size_bias=0.0 if two_stage else -2.0
            ),
            refinement=L(DetachedAnchors if refine else FixedAnchors)(),
            eps=eps,
        ),
        num_classes=80,
        **parts,
        **nodes.DETECTOR,
    )


def deformable_detr(
    *, depth: int = 50, refine: bool = False, two_stage: bool = False, mixed: bool = False
) -> DictConfig:
    """The node of Deformable DETR: 80 classes, 300 queries, 4 levels.

    refine: iterative refinement of boxes. two_stage: proposals from the encoder, ranked by class 0; implies `refine`.
    mixed: Deformable-DETR++, the base of Co-Deformable-DETR: two stages with learned content, refined boxes through
        which losses flow back, wider layers and no dropout.
    """
    two_stage = two_stage or mixed
    queries = L(LearnedQueries)(
        num_queries=300,
        dim="${..neck.dim}",
        point_head=L(point_head)(dim="${..dim}"),
        learned_content=True,
        num_patterns=0,
    )
    proposals = MixedEncodedProposalQueries if mixed else EncodedProposalQueries
    model = deformable_node(
        depth=depth,
        hidden=2048 if mixed else 1024,
        dropout=0.0 if mixed else 0.1,
        refine=refine or two_stage,
        two_stage=two_stage,
        prior=L(StaticPrior)(),
        eps=1e-5,
        queries=nodes.proposal_node(proposals, class_agnostic=True, dense=True) if two_stage else queries,
        denoising=nodes.denoising_node(anchor_dim=0),
        collaboration=collaboration_node(
            stride=8, anchor_dim=4 if two_stage else 2, learned_positions=True, see_features=mixed
        ),
        criterion=nodes.criterion_node(weight_class=2.0, class_agnostic=two_stage),
        selection=nodes.selection_node(100),
    )
    if mixed:
        model.queries.xavier = False
        model.decoder.refinement = L(RefinedAnchors)()
    return model


def dab_deformable_detr(
    *, depth: int = 50, refine: bool = True, two_stage: bool = False, num_patterns: int = 0, fixed_xy: bool = False
) -> DictConfig:
    """The node of DAB-Deformable-DETR: 80 classes, 300 anchor boxes, 4 levels.

    two_stage: proposals from the encoder, ranked by their best class. They replace the learned anchors, so num_patterns
    and fixed_xy do not apply.
    """
    if two_stage and (num_patterns or fixed_xy):
        raise ValueError("num_patterns and fixed_xy need learned anchors: with two_stage the encoder proposes them")
    queries = nodes.anchor_queries_node(learned_content=True, num_patterns=num_patterns, fixed_xy=fixed_xy)
    return deformable_node(
        depth=depth,
        hidden=2048,
        dropout=0.0,
        refine=refine,
        two_stage=two_stage,
        prior=L(deformable_prior)(
            dim="${...neck.dim}", anchor_dim="${oc.select:...queries.anchor_dim,4}", temperature=10000.0
        ),
        eps=1e-3,
        queries=nodes.proposal_node(ProposalQueries) if two_stage else queries,
        denoising=nodes.denoising_node(),
        collaboration=collaboration_node(stride=8),
        criterion=nodes.criterion_node(weight_class=1.0, eps=1e-6, class_agnostic=False),
        selection=nodes.selection_node(300),
    )


def efficient_detr(*, depth: int = 50, dense: bool = True) -> DictConfig:
    """The node of Efficient DETR in the family's parts: 80 classes, 3 encoder layers, and one decoder layer. It starts
    from the boxes and features of the 300 best cells.

    dense: whether all cells have a loss, or the chosen ones only.
    """
    model = dab_deformable_detr(depth=depth, two_stage=True)
    model.queries = nodes.proposal_node(MemoryProposalQueries, dense=dense)
    model.neck.exact_padding = True
    model.encoder.num_layers, model.decoder.layers.num_layers = 3, 1
    return model


def dino(
    *,
    depth: int = 50,
    five_scale: bool = False,
    shared_heads: bool = True,
    temperature: float = 20.0,
    offset: float = 0.0,
) -> DictConfig:
    """The node of DINO: 80 classes, 900 queries, 4 levels of strides 8 to 64.

    five_scale: a level of stride 4 too. shared_heads: one class head and one box head for all decoder layers, as in the
    original; False for detrex'. temperature, offset: of the position map; 10000 and -0.5 in detrex.
    """
    maps = ("res2",) * five_scale + ("res3", "res4", "res5")
    model = deformable_node(
        depth=depth,
        hidden=2048,
        dropout=0.0,
        refine=True,
        two_stage=True,
        prior=L(deformable_prior)(dim="${...neck.dim}", anchor_dim=4, temperature=10000.0, scaled=False),
        eps=1e-3,
        queries=nodes.proposal_node(MixedProposalQueries),
        denoising=nodes.contrastive_node(),
        collaboration=collaboration_node(stride=4 if five_scale else 8),
        criterion=nodes.criterion_node(weight_class=1.0, eps=1e-6, class_agnostic=False),
        selection=nodes.selection_node(300),
    )
    model.backbone.out_features = list(maps)
    model.neck = nodes.multi_scale_node(maps, temperature, offset)
    model.queries.update(num_queries=900, xavier=True)
    model.decoder.norm = L(nn.LayerNorm)(normalized_shape="${...neck.dim}")
    model.decoder.class_heads.shared = model.decoder.box_heads.shared = shared_heads
    model.decoder.refinement = L(RefinedAnchors)()
    return model
