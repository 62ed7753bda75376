from dab_detr.models import dino

from ..common.shapes import shrink
from .dab_detr import dataloader, dataset, lr_multiplier, optimizer, train

model = shrink(dino(depth=18))
model.criterion.weight_class = 3.0
train.output_dir = "output/shapes/dino"
