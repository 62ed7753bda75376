from dab_detr.models import dab_deformable_detr

from ..common.shapes import shrink
from .dab_detr import dataloader, dataset, lr_multiplier, optimizer, train

model = shrink(dab_deformable_detr(depth=18))
model.queries.uniform_xy = True
model.criterion.weight_class = 3.0
train.output_dir = "output/shapes/dab_deformable_detr"
