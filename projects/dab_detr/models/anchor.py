"""Anchor DETR: queries of points with patterns, and row-column attention."""

from detectron2.config import LazyCall as L
from omegaconf import DictConfig
from torch import nn

from ..detector import DABDETR
from ..modeling.neck import MultiScaleNeck
from ..modeling.positional import RowColumnMap
from ..modeling.priors import AnchorPointPrior
from ..modeling.queries import AnchorPointQueries
from ..modeling.transformer import Decoder, FixedAnchors
from . import nodes
from .backbones import resnet_node
from .builders import row_column_encoder, row_column_layers
from .collaborating import single_scale_collaboration


def anchor_detr(*, depth: int = 50, dilated: bool = False) -> DictConfig:
    """The node of Anchor DETR: 80 classes, 300 points with 3 patterns each."""
    return L(DABDETR)(
        backbone=resnet_node(depth, dilated),
        neck=L(MultiScaleNeck)(
            in_channels={"res5": 2048},
            num_levels=1,
            dim=256,
            position=L(RowColumnMap)(dim="${..dim}", temperature=10000.0),
            level_embed=False,
        ),
        encoder=nodes.encoder_node(row_column_encoder, hidden=1024, dropout=0.0),
        queries=L(AnchorPointQueries)(num_queries=300, dim="${..neck.dim}", num_patterns=3),
        denoising=nodes.denoising_node(anchor_dim=2),
        decoder=L(Decoder)(
            layers=nodes.layers_node(row_column_layers),
            prior=L(AnchorPointPrior)(dim="${...neck.dim}", temperature=10000.0),
            norm=L(nn.Identity)(),
            **nodes.heads_nodes(size_bias=-2.0),
            refinement=L(FixedAnchors)(),
            eps=1e-5,
            xavier=False,
        ),
        collaboration=single_scale_collaboration(dilated, anchor_dim=2),
        criterion=nodes.criterion_node(weight_class=2.0),
        selection=nodes.selection_node(100),
        num_classes=80,
        **nodes.DETECTOR,
    )
