"""The wiring of every published model, as lazy nodes for LazyConfig; the yacs config goes through the same.

A number stands in one place: the width of the transformer is `neck.dim`, the number of classes `num_classes`, the
kind of anchors `queries.anchor_dim`, heads, hidden channels, dropout and activation are the encoder's; all other parts
interpolate them, so that one override changes them all.

A module here must not be named like a function of the package: a saved config names `dab_detr.models.dab.anchor_prior`,
and that could not be found where `dab_detr.models.dab` is a function.
"""

from functools import partial

from .anchor import anchor_detr
from .baselines import conditional_detr, detr
from .dab import dab_detr
from .multi_scale import dab_deformable_detr, deformable_detr

MODELS = {
    "dab_detr": dab_detr,
    "dab_deformable_detr": dab_deformable_detr,
    "dab_deformable_detr_two_stage": partial(dab_deformable_detr, two_stage=True),
    "detr": detr,
    "conditional_detr": conditional_detr,
    "anchor_detr": anchor_detr,
    "deformable_detr": deformable_detr,
    "deformable_detr_refine": partial(deformable_detr, refine=True),
    "deformable_detr_two_stage": partial(deformable_detr, two_stage=True),
}

__all__ = [
    "MODELS",
    "anchor_detr",
    "conditional_detr",
    "dab_deformable_detr",
    "dab_detr",
    "deformable_detr",
    "detr",
]
