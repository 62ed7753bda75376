"""DETR whose position queries are sine encodings of learned anchor boxes, through an MLP. Attention stays DETR's."""

from detectron2.config import LazyCall as L

from dab_detr.modeling.priors import AnchorPrior, NoScale
from dab_detr.models import dab_detr, detr

from ..common.shapes import shrink
from .dab_detr import dataloader, dataset, lr_multiplier, optimizer, train

model = detr(depth=18)
model.queries = dab_detr(depth=18).queries
model.decoder.prior = L(AnchorPrior)(dim="${...neck.dim}", anchor_dim=4, scale=L(NoScale)())
model = shrink(model)
model.queries.uniform_xy = True
train.output_dir = "output/shapes/detr_sine"
