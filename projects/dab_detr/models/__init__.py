"""The wiring of every published model, as lazy nodes for LazyConfig; the yacs config goes through the same.

A number stands in one place: the width of the transformer is `neck.dim`, the number of classes `num_classes`, the
kind of anchors `queries.anchor_dim`, heads, hidden channels, dropout and activation are the encoder's; all other parts
interpolate them, so that one override changes them all.
"""

from .anchor_detr import anchor_detr
from .dab_detr import dab_detr
from .deformable_detr import dab_deformable_detr, deformable_detr
from .detr import conditional_detr, detr

MODELS = {
    model.__name__: model
    for model in (dab_detr, dab_deformable_detr, deformable_detr, conditional_detr, detr, anchor_detr)
}

__all__ = ["MODELS", *MODELS]
