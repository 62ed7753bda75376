"""DETR and Conditional DETR: the baselines without anchor boxes, on one feature map."""

from detectron2.config import LazyCall as L
from omegaconf import DictConfig
from torch import nn

from ..detector import DABDETR
from ..losses.classification import SoftmaxLoss
from ..modeling.heads import PlainBoxHead, SoftmaxClassHead
from ..modeling.layers import MLP
from ..modeling.priors import ConditionalPrior, ContentScale, StaticPrior
from ..modeling.queries import LearnedQueries
from ..modeling.selection import BestClasses
from ..modeling.transformer import Decoder, FixedAnchors
from . import nodes
from .backbones import resnet_node
from .builders import conditional_layers, plain_encoder, plain_layers
from .collaborating import single_scale_collaboration


def mlp(*, dims: list[int]) -> MLP:
    """An MLP of these widths, for a config."""
    return MLP(*dims)


def detr(*, depth: int = 50, dilated: bool = False) -> DictConfig:
    """The node of DETR: 80 classes and "no object", 100 queries."""
    dim = "${...neck.dim}"
    return L(DABDETR)(
        backbone=resnet_node(depth, dilated),
        neck=nodes.single_scale_node(temperature=10000.0),
        encoder=nodes.encoder_node(plain_encoder, hidden=2048, dropout=0.1),
        queries=L(LearnedQueries)(num_queries=100, dim="${..neck.dim}", learned_content=False, num_patterns=0),
        denoising=nodes.denoising_node(anchor_dim=0),
        decoder=L(Decoder)(
            layers=nodes.layers_node(plain_layers),
            prior=L(StaticPrior)(),
            norm=L(nn.LayerNorm)(normalized_shape=dim),
            class_heads=[L(SoftmaxClassHead)(dim="${....neck.dim}", num_classes="${....num_classes}")],
            box_heads=[L(PlainBoxHead)(dim="${....neck.dim}")],
            refinement=L(FixedAnchors)(),
            eps=1e-5,
        ),
        collaboration=single_scale_collaboration(dilated, anchor_dim=0),
        criterion=nodes.criterion_node(weight_class=1.0, classification=SoftmaxLoss, cost_class=1.0),
        selection=nodes.selection_node(build=BestClasses),
        num_classes=80,
        **nodes.DETECTOR,
    )


def conditional_prior(*, dim: int, temperature: float = 10000.0) -> ConditionalPrior:
    """Conditional DETR's prior with its scale."""
    return ConditionalPrior(dim=dim, scale=ContentScale(dim=dim, out_dim=dim), temperature=temperature)


def conditional_detr(*, depth: int = 50, dilated: bool = False) -> DictConfig:
    """The node of Conditional DETR: 80 classes, 300 queries with a 2-D reference point each."""
    return L(DABDETR)(
        backbone=resnet_node(depth, dilated),
        neck=nodes.single_scale_node(temperature=10000.0),
        encoder=nodes.encoder_node(plain_encoder, hidden=2048, dropout=0.1),
        queries=L(LearnedQueries)(
            num_queries=300,
            dim="${..neck.dim}",
            point_head=L(mlp)(dims=["${....neck.dim}", "${....neck.dim}", 2]),
            learned_content=False,
            num_patterns=0,
        ),
        denoising=nodes.denoising_node(anchor_dim=0),
        decoder=L(Decoder)(
            layers=nodes.layers_node(conditional_layers, keep_query_pos=False),
            prior=L(conditional_prior)(dim="${...neck.dim}", temperature=10000.0),
            norm=L(nn.LayerNorm)(normalized_shape="${...neck.dim}"),
            **nodes.heads_nodes(),
            refinement=L(FixedAnchors)(),
            eps=1e-5,
        ),
        collaboration=single_scale_collaboration(dilated, anchor_dim=2, learned_positions=True),
        criterion=nodes.criterion_node(weight_class=2.0),
        selection=nodes.selection_node(100),
        num_classes=80,
        **nodes.DETECTOR,
    )
