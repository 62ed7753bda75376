from dab_detr.models import dab_detr

from ..common.shapes import shrink
from .dab_detr import dataloader, dataset, lr_multiplier, optimizer, train

model = shrink(dab_detr(depth=18, two_stage=True))
model.queries.size = 0.2  # 19 of 96 pixels: objects have 10 to 56
model.criterion.weight_class = 3.0
train.output_dir = "output/shapes/dab_detr_two_stage"
