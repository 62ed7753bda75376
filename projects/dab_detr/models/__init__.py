"""The wiring of every published model, as nodes for LazyConfig. Yacs configs use the same nodes.

Each number is in one place. The width of the transformer is `neck.dim`, the number of classes `num_classes`, the kind
of anchors `queries.anchor_dim`. Heads, hidden channels, dropout and activation are the encoder's. All other parts
interpolate these keys, so that one override changes all of them.

A module here must not have the name of a function of the package. A saved config names
`dab_detr.models.dab.anchor_prior`, which Python cannot find if `dab_detr.models.dab` is a function.
"""

from functools import partial

from .anchor import anchor_detr
from .baselines import conditional_detr, detr
from .dab import dab_detr
from .multi_scale import dab_deformable_detr, deformable_detr, dino, efficient_detr

MODELS = {
    "dab_detr": dab_detr,
    "dab_deformable_detr": dab_deformable_detr,
    "dab_deformable_detr_two_stage": partial(dab_deformable_detr, two_stage=True),
    "dab_detr_two_stage": partial(dab_detr, two_stage=True),
    "efficient_detr": efficient_detr,
    "dino": dino,
    "detr": detr,
    "conditional_detr": conditional_detr,
    "anchor_detr": anchor_detr,
    "deformable_detr": deformable_detr,
    "deformable_detr_refine": partial(deformable_detr, refine=True),
    "deformable_detr_two_stage": partial(deformable_detr, two_stage=True),
    "deformable_detr_mixed": partial(deformable_detr, mixed=True),
}

__all__ = [
    "MODELS",
    "anchor_detr",
    "conditional_detr",
    "dab_deformable_detr",
    "dab_detr",
    "deformable_detr",
    "detr",
    "dino",
    "efficient_detr",
]
