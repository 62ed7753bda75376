from dab_detr.models import conditional_detr

from ..common.photographs import photographs
from .dab_detr import dataloader, dataset, lr_multiplier, optimizer, train

model = photographs(conditional_detr(depth=18))
model.criterion.weight_class = 3.0
train.output_dir = "output/photographs/conditional_detr"
