from dab_detr.models import dab_detr

from ..common.shapes import shrink
from .dab_detr import dataloader, dataset, lr_multiplier, optimizer, train

model = shrink(dab_detr(depth=18))
model.queries.uniform_xy = True
model.denoising.groups = 5
model.criterion.weight_class = 3.0
train.output_dir = "output/shapes/dn_dab_detr"
