from dab_detr.models import anchor_detr

from ..common.shapes import shrink
from .dab_detr import dataloader, dataset, lr_multiplier, optimizer, train

model = shrink(anchor_detr(depth=18))
model.queries.num_patterns = 1
model.criterion.weight_class = 3.0
train.output_dir = "output/shapes/anchor_detr"
