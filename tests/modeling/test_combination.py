"""Parts that do not fit each other stop when the model is built, with an error that names the config keys."""

import pytest
import torch
from detectron2.config import LazyCall as L
from detectron2.config import instantiate
from torch import nn

from dab_detr.modeling.part import Part
from dab_detr.modeling.structures import Queries
from dab_detr.models import (
    MODELS,
    anchor_detr,
    conditional_detr,
    dab_deformable_detr,
    dab_detr,
    deformable_detr,
    detr,
)
from dab_detr.overrides import apply_overrides
from samples import random_input, train
from tiny import shrink


def combined(node, *overrides: str, **parts):
    """A small model from a node with other parts and overrides."""
    node = shrink(node)
    for name, part in parts.items():
        target, _, key = name.rpartition("__")
        (node[target] if target else node)[key] = part
    apply_overrides(node, overrides)
    return instantiate(node)


def one():
    """The neck of one level, on the small backbone."""
    neck = detr().neck
    neck.in_channels, neck.dim = 32, 32
    return neck


def anchor_prior():
    prior = dab_detr().decoder.prior
    prior.modulate, prior.anchor_dim = False, 2
    return prior


class Undeclared(nn.Module):
    """A user's own query head, which says nothing about itself and calls its arguments otherwise."""

    def __init__(self, *, count: int, width: int, columns: int = 4):
        super().__init__()
        self.content, self.logits = (nn.Parameter(torch.randn(count, x)) for x in (width, columns))

    def forward(self, memory) -> Queries:
        content, anchors = (x.expand(len(memory.content), -1, -1) for x in (self.content, self.logits.sigmoid()))
        return Queries(content=content, anchors=anchors)


class Declared(Undeclared):
    gives = ("anchors",)


class Points(Declared):
    anchor_dim = 2


class BoxPrior(Part, nn.Module):
    """Its constructor does not take `anchor_dim`."""

    needs, gives, anchor_dim = ("anchors",), ("a spatial position",), 4


class Misdeclared(Undeclared):
    gives = "anchors"


class OwnPrior(nn.Module):
    """A user's own prior, which says nothing about itself."""


class OwnNeck(nn.Module):
    """A user's own neck, which says nothing about itself."""

    def __init__(self, *, dim: int):
        super().__init__()


def own(queries: type, *, columns: int = 4):
    return L(queries)(count=10, width="${..neck.dim}", columns=columns)


# what fits together too: one line on another model
GOOD = {
    "DAB with denoising": lambda: combined(dab_detr(), "denoising.groups=5"),
    "DAB with points": lambda: combined(dab_detr(), "queries.anchor_dim=2"),
    "deformable attention with 2-D anchors": lambda: combined(dab_deformable_detr(), "queries.anchor_dim=2"),
    "deformable DAB with denoising": lambda: combined(dab_deformable_detr(), "denoising.groups=5", "queries.dim=31"),
    "deformable attention to one level": lambda: combined(
        dab_deformable_detr(), "encoder.levels=1", "decoder.layers.levels=1", neck=one()
    ),
    "patterns in DAB": lambda: combined(dab_detr(), "queries.num_patterns=3"),
    "anchors that are not refined": lambda: combined(
        dab_deformable_detr(), "decoder.refinement._target_=dab_detr.FixedAnchors"
    ),
    "a user's own queries": lambda: combined(dab_detr(), queries=own(Declared)),
    "a user's own queries with denoising": lambda: combined(dab_detr(), "denoising.groups=2", queries=own(Declared)),
    "a user's own points": lambda: combined(
        dab_detr(), queries=own(Points, columns=2), decoder__prior=anchor_prior(), denoising=anchor_detr().denoising
    ),
    "Anchor DETR with denoising": lambda: combined(anchor_detr(), "denoising.groups=2"),
}


GOOD |= {name: lambda node=node: combined(node()) for name, node in MODELS.items()}


@pytest.mark.parametrize("name", GOOD)
def test_what_fits_trains(name):
    losses = train(GOOD[name](), [random_input(objects=2), random_input(64, 160, objects=1)])
    assert sum(losses.values()).isfinite()


PAGE = r" \(docs/extending\.md\)"
TWO_STAGE = dab_deformable_detr(two_stage=True).queries
BAD = {
    "two-stage with DETR's static positions": (
        lambda: combined(detr(), queries=TWO_STAGE),
        r"model\.decoder\.prior \(StaticPrior\) needs queries with learned positions, "
        r"model\.queries \(ProposalQueries\) gives anchors",
    ),
    "two-stage with Conditional DETR's": (
        lambda: combined(conditional_detr(), queries=TWO_STAGE),
        r"model\.decoder\.prior \(ConditionalPrior\) needs queries with learned positions.*model\.queries",
    ),
    "a user's own queries that say nothing": (
        lambda: combined(dab_detr(), queries=own(Undeclared)),
        r"model\.decoder\.prior \(ModulatedAnchorPrior\) needs queries with anchors, model\.queries \(Undeclared\) "
        r"gives nothing: change one of the two, or add 'anchors' to Undeclared\.gives if it has them" + PAGE,
    ),
    "a user's own queries that say it wrongly": (
        lambda: combined(dab_detr(), queries=own(Misdeclared)),
        r"Misdeclared\.gives must be a tuple of strings, got 'anchors'" + PAGE,
    ),
    "a user's own points for a prior of boxes": (
        lambda: combined(dab_detr(), queries=own(Points, columns=2)),
        r"model\.decoder\.prior\.anchor_dim is 4 \(ModulatedAnchorPrior\), the anchors of model\.queries have 2 "
        r"columns \(Points\.anchor_dim\): set model\.decoder\.prior\.anchor_dim=2",
    ),
    "a user's own prior of boxes for points": (
        lambda: combined(dab_detr(), queries=own(Points, columns=2), decoder__prior=L(BoxPrior)()),
        r"model\.decoder\.prior\.anchor_dim is 4 \(BoxPrior\).*: use other queries or another model\.decoder\.prior",
    ),
    "denoising of boxes for points": (
        lambda: combined(anchor_detr(), "denoising.groups=2", "denoising.anchor_dim=4"),
        r"model\.denoising\.anchor_dim is 4 \(Denoising\).*2 columns \(AnchorPointQueries\.anchor_dim\)",
    ),
    "a user's own prior that says nothing": (
        lambda: combined(dab_detr(), decoder__prior=L(OwnPrior)()),
        r"the \w+CrossAttention of model\.decoder\.layers needs a spatial position, model\.decoder\.prior "
        r"\(OwnPrior\) gives nothing: .* add 'a spatial position' to OwnPrior\.gives if it has them" + PAGE,
    ),
    "a user's own neck that says nothing": (
        lambda: combined(dab_detr(), neck=L(OwnNeck)(dim=32)),
        r"the OwnNeck of model\.neck must have the attribute 'in_channels'" + PAGE,
    ),
    "anchors from queries that have none": (
        lambda: combined(dab_detr(), queries=detr().queries, denoising=detr().denoising, decoder__prior=anchor_prior()),
        r"model\.decoder\.prior \(AnchorPrior\) needs queries with anchors, "
        r"model\.queries \(LearnedQueries\) gives learned positions",
    ),
    "deformable attention around anchors that are not there": (
        lambda: combined(deformable_detr(), queries__point_head=None),
        r"model\.decoder\.prior \(StaticPrior\) needs queries with anchors, model\.queries \(LearnedQueries\) gives",
    ),
    "static positions from anchor boxes": (
        lambda: combined(detr(), queries=dab_detr().queries),
        r"model\.decoder\.prior \(StaticPrior\) needs queries with learned positions.*\(AnchorBoxQueries\)",
    ),
    "conditional attention by learned positions": (
        lambda: combined(detr(), decoder__layers=conditional_detr().decoder.layers),
        r"the \w+CrossAttention of model\.decoder\.layers needs a spatial position, "
        r"model\.decoder\.prior \(StaticPrior\) gives anchors: change one of the two",
    ),
    "deformable attention by the prior of conditional": (
        lambda: combined(dab_deformable_detr(), decoder__prior=dab_detr().decoder.prior),
        r"the DeformableAttention of model\.decoder\.layers needs anchors, "
        r"model\.decoder\.prior \(ModulatedAnchorPrior\) gives a spatial position",
    ),
    "row-column attention by the prior of conditional": (
        lambda: combined(anchor_detr(), decoder__prior=anchor_prior()),
        r"the RowColumnAttention of model\.decoder\.layers needs points encoded as cells, "
        r"model\.decoder\.prior \(AnchorPrior\) gives a spatial position",
    ),
    "the channel of denoising without it": (
        lambda: combined(dab_deformable_detr(), "queries.dim=31"),
        r"without model\.denoising\.groups model\.queries\.dim must be 32, got 31",
    ),
    "deformable attention on several levels with a neck of one": (
        lambda: combined(dab_deformable_detr(), "encoder.levels=4", "decoder.layers.levels=4", neck=one()),
        r"DeformableAttention of model\.encoder attends to 4 levels, model\.neck gives 1 \(SingleScaleNeck\): "
        r"set model\.neck\.num_levels",
    ),
    "a deformable encoder of other levels": (
        lambda: combined(dab_deformable_detr(), "encoder.levels=1"),
        r"DeformableAttention of model\.encoder attends to 1 levels, model\.neck gives 4 \(MultiScaleNeck\)",
    ),
    "a deformable decoder of other levels": (
        lambda: combined(dab_deformable_detr(), "decoder.layers.levels=3"),
        r"DeformableAttention of model\.decoder attends to 3 levels, model\.neck gives 4",
    ),
    "row-column attention on several levels": (
        lambda: combined(anchor_detr(), "neck.num_levels=2"),
        r"RowColumnAttention of model\.encoder attends to 1 levels, model\.neck gives 2",
    ),
    "row-column attention with a map that is one piece": (
        lambda: combined(anchor_detr(), neck__position=dab_detr().neck.position),
        r"RowColumnAttention of model\.encoder \(splits_axes=True\) does not go with the PositionMap of "
        r"model\.neck\.position \(splits_axes=False\)",
    ),
    "plain attention with a map in halves": (
        lambda: combined(dab_detr(), neck__position=anchor_detr().neck.position),
        r"CrossAttention of model\.encoder \(splits_axes=False\) does not go with the RowColumnMap of "
        r"model\.neck\.position \(splits_axes=True\)",
    ),
    "proposals of another width": (
        lambda: combined(dab_deformable_detr(two_stage=True), "denoising.groups=2", "queries.dim=31"),
        r"the ProposalQueries of model\.queries are cells of the memory: model\.queries\.dim must be "
        r"model\.neck\.dim=32, got 31",
    ),
    "softmax over classes without 'no object'": (
        lambda: combined(dab_detr(), criterion__classification=detr().criterion.classification),
        r"must agree on a \"no object\" class: model\.decoder\.class_heads \(ClassHead\) has none, "
        r"model\.criterion\.classification \(SoftmaxLoss\) has one, model\.selection \(TopPairs\) has none",
    ),
    "the best pairs of classes with 'no object'": (
        lambda: combined(detr(), selection=dab_detr().selection),
        r"model\.selection \(TopPairs\) has none",
    ),
    "proposals that learn objects and are ranked by classes": (
        lambda: combined(dab_deformable_detr(two_stage=True), "criterion.class_agnostic=true"),
        r"model\.queries\.class_agnostic=False ranks proposals by their best class, "
        r"model\.criterion\.class_agnostic=True teaches them class 0 alone: set model\.queries\.class_agnostic=True "
        r"or model\.criterion\.class_agnostic=False",
    ),
    "proposals that learn classes and are ranked by class 0": (
        lambda: combined(deformable_detr(two_stage=True), "criterion.class_agnostic=false"),
        r"model\.queries\.class_agnostic=True ranks proposals by class 0, "
        r"model\.criterion\.class_agnostic=False teaches them all classes",
    ),
    "fewer levels than maps": (
        lambda: combined(deformable_detr(), "neck.num_levels=2"),
        r"model\.neck\.num_levels=2 is less than the 3 maps of model\.neck\.in_channels",
    ),
    "wrong channels": (
        lambda: combined(detr(), "neck.in_channels=2048"),
        r"'res5' of model\.backbone has 32 channels, model\.neck\.in_channels expects 2048",
    ),
    "wrong channels of one map": (
        lambda: combined(deformable_detr(), "neck.in_channels.res4=7"),
        r"'res4' of model\.backbone has 16 channels, model\.neck\.in_channels expects 7",
    ),
    "a feature that the backbone does not give": (
        lambda: combined(detr(), "neck.feature=res4"),
        r"model\.neck takes 'res4', model\.backbone gives \['res5'\]: set model\.backbone\.out_features",
    ),
    "one of several that it does not give": (
        lambda: combined(deformable_detr(), "backbone.out_features=[res4,res5]"),
        r"model\.neck takes 'res3', model\.backbone gives \['res4', 'res5'\]",
    ),
}
for learned in (detr, conditional_detr, deformable_detr):
    BAD[f"patterns with learned queries of {learned.__name__}"] = (
        lambda learned=learned: combined(learned(), "queries.num_patterns=3"),
        r"model\.queries\.num_patterns needs anchors",
    )
    BAD[f"denoising of {learned.__name__}"] = (
        lambda learned=learned: combined(learned(), "denoising.groups=5"),
        r"model\.denoising\.groups needs model\.queries with anchors",
    )
BAD["denoising of Deformable DETR in two stages"] = (
    lambda: combined(deformable_detr(two_stage=True), "denoising.groups=5"),
    r"model\.denoising\.groups needs model\.queries with anchors",
)
BAD["denoising of queries that lack more than a channel"] = (
    lambda: combined(dab_detr(), "queries.dim=30", "denoising.groups=5"),
    r"model\.queries\.dim must be 32 or 31 for denoising, got 30",
)
BAD["modulation of points"] = (
    lambda: combined(dab_detr(), "queries.anchor_dim=2", "decoder.prior.modulate=True"),
    r"width and height modulation needs anchor_dim=4, got 2",
)


@pytest.mark.parametrize("name", BAD)
def test_what_does_not_fit_names_the_keys(name):
    build, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        build()
