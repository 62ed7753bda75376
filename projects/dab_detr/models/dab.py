"""DAB-DETR on one feature map."""

from detectron2.config import LazyCall as L
from omegaconf import DictConfig
from torch import nn

from ..detector import DABDETR
from ..modeling.priors import AnchorPrior, ContentScale, LayerScale, ModulatedAnchorPrior
from ..modeling.proposals import MemoryProposalQueries
from ..modeling.transformer import Decoder, RefinedAnchors
from . import nodes
from .backbones import resnet_node
from .builders import conditional_layers, scaled_encoder
from .collaborating import single_scale_collaboration


def anchor_prior(
    *,
    dim: int,
    anchor_dim: int,
    num_layers: int,
    query_scale: str = "content",
    modulate: bool | None = None,
    temperature: float = 10000.0,
) -> AnchorPrior:
    """The prior of DAB-DETR and of its ablations.

    query_scale: "content" (one factor per channel, from the content), "scalar" (one per query) or "layer" (learned for
        each layer): cond_elewise, cond_scalar and fix_elewise in the original.
    modulate: width and height modulation; None means yes if anchors have a size.
    """
    scales = {
        "content": lambda: ContentScale(dim=dim, out_dim=dim),
        "scalar": lambda: ContentScale(dim=dim, out_dim=1),
        "layer": lambda: LayerScale(num_layers=num_layers, dim=dim),
    }
    if query_scale not in scales:
        raise ValueError(f"model.decoder.prior.query_scale must be one of {list(scales)}, got {query_scale!r}")
    modulate = anchor_dim == 4 if modulate is None else modulate
    prior = ModulatedAnchorPrior if modulate else AnchorPrior
    return prior(dim=dim, anchor_dim=anchor_dim, scale=scales[query_scale](), temperature=temperature)


def dab_detr(
    *,
    depth: int = 50,
    dilated: bool = False,
    num_patterns: int = 0,
    fixed_xy: bool = False,
    two_stage: bool = False,
    temperature: float = 20.0,
) -> DictConfig:
    """The node of DAB-DETR on a ResNet: 80 classes, 300 anchor boxes, 6 + 6 layers (Table 2 and 8 of the paper).

    two_stage: the encoder proposes the anchors, with Efficient DETR's dense proposals; num_patterns and fixed_xy need
        learned anchors.
    dilated is DC5. temperature belongs to the position map: 10 in the released R50-DC5 without patterns, otherwise 20.
    """
    if two_stage and (num_patterns or fixed_xy):
        raise ValueError("num_patterns and fixed_xy need learned anchors: with two_stage the encoder proposes them")
    queries = nodes.anchor_queries_node(learned_content=False, num_patterns=num_patterns, fixed_xy=fixed_xy)
    if two_stage:
        size = 0.1 if dilated else 0.2  # as 0.05 on maps of stride 8
        queries = nodes.proposal_node(MemoryProposalQueries, dense=True, size=size)
    return L(DABDETR)(
        backbone=resnet_node(depth, dilated),
        neck=nodes.single_scale_node(temperature),
        encoder=nodes.encoder_node(scaled_encoder, hidden=2048, dropout=0.0, activation=nn.PReLU),
        queries=queries,
        denoising=nodes.denoising_node(),
        decoder=L(Decoder)(
            layers=nodes.layers_node(conditional_layers, keep_query_pos=False),
            prior=L(anchor_prior)(
                dim="${...neck.dim}",
                anchor_dim="${oc.select:...queries.anchor_dim,4}",
                num_layers="${..layers.num_layers}",
                query_scale="content",
                modulate=None,
                temperature=10000.0,
            ),
            norm=L(nn.LayerNorm)(normalized_shape="${...neck.dim}"),
            **nodes.heads_nodes(),
            refinement=L(RefinedAnchors)(),
            eps=1e-3,
        ),
        collaboration=single_scale_collaboration(dilated),
        criterion=nodes.criterion_node(weight_class=1.0, eps=1e-6),
        selection=nodes.selection_node(300),
        num_classes=80,
        **nodes.DETECTOR,
    )
