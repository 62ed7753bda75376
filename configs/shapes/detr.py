from dab_detr.models import detr

from ..common.shapes import shrink
from .dab_detr import dataloader, dataset, lr_multiplier, optimizer, train

model = shrink(detr(depth=18))
train.output_dir = "output/shapes/detr"
