"""Detectors on several feature maps: Deformable DETR and DAB-Deformable-DETR, each also in two stages."""

from detectron2.config import LazyCall as L
from omegaconf import DictConfig
from torch import nn

from ..detector import DABDETR
from ..modeling.heads import BoxHead, ClassHead
from ..modeling.layers import MLP
from ..modeling.priors import ContentScale, DeformableAnchorPrior, StaticPrior
from ..modeling.proposals import EncodedProposalQueries, ProposalQueries
from ..modeling.queries import LearnedQueries
from ..modeling.selection import TopPairs
from ..modeling.transformer import Decoder, DetachedAnchors, FixedAnchors
from . import nodes
from .builders import deformable_encoder, deformable_layers


def deformable_prior(*, dim: int, anchor_dim: int, temperature: float = 10000.0) -> DeformableAnchorPrior:
    """DAB-Deformable-DETR's prior with its scale."""
    scale = ContentScale(dim=dim, out_dim=dim)
    return DeformableAnchorPrior(dim=dim, anchor_dim=anchor_dim, scale=scale, temperature=temperature)


def point_head(*, dim: int) -> MLP:
    """One linear layer to the logits of a point. Its bias starts at zero."""
    head = MLP(dim, 2)
    nn.init.zeros_(head[0].bias)
    return head


def proposal_node(queries: type[ProposalQueries], class_agnostic: bool) -> DictConfig:
    """Two-stage queries, with the encoder's own heads."""
    return L(queries)(
        num_queries=300,
        dim="${..neck.dim}",
        class_head=L(ClassHead)(dim="${..dim}", num_classes="${...num_classes}"),
        box_head=L(BoxHead)(dim="${..dim}"),
        class_agnostic=class_agnostic,
        size=0.05,
    )


def deformable_node(
    *, depth: int, hidden: int, dropout: float, refine: bool, two_stage: bool, prior: DictConfig, eps: float, **parts
) -> DictConfig:
    """What both detectors have in common; `parts` are queries, denoising, criterion and selection."""
    return L(DABDETR)(
        backbone=nodes.resnet_node(depth, out_features=("res3", "res4", "res5")),
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


def deformable_detr(*, depth: int = 50, refine: bool = False, two_stage: bool = False) -> DictConfig:
    """The node of Deformable DETR: 80 classes, 300 queries, 4 levels.

    refine: iterative refinement of boxes. two_stage: proposals from the encoder, ranked by class 0; implies `refine`.
    """
    queries = L(LearnedQueries)(
        num_queries=300,
        dim="${..neck.dim}",
        point_head=L(point_head)(dim="${..dim}"),
        learned_content=True,
        num_patterns=0,
    )
    return deformable_node(
        depth=depth,
        hidden=1024,
        dropout=0.1,
        refine=refine or two_stage,
        two_stage=two_stage,
        prior=L(StaticPrior)(),
        eps=1e-5,
        queries=proposal_node(EncodedProposalQueries, class_agnostic=True) if two_stage else queries,
        denoising=nodes.denoising_node(anchor_dim=0),
        criterion=nodes.criterion_node(weight_class=2.0, class_agnostic=two_stage),
        selection=L(TopPairs)(num_select=100),
    )


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
        queries=proposal_node(ProposalQueries, class_agnostic=False) if two_stage else queries,
        denoising=nodes.denoising_node(),
        criterion=nodes.criterion_node(weight_class=1.0, eps=1e-6, class_agnostic=False),
        selection=L(TopPairs)(num_select=300),
    )
