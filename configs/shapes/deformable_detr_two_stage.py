from dab_detr.models import deformable_detr

from ..common.shapes import shrink
from .dab_detr import dataloader, dataset, lr_multiplier, optimizer, train

model = shrink(deformable_detr(depth=18, two_stage=True))
model.criterion.weight_class = 3.0
train.output_dir = "output/shapes/deformable_detr_two_stage"
