from dab_detr.models import dab_deformable_detr

from ..common.photographs import photographs
from .dab_detr import dataloader, dataset, lr_multiplier, optimizer, train

model = photographs(dab_deformable_detr(depth=18))
model.criterion.weight_class = 3.0
train.output_dir = "output/photographs/dab_deformable_detr"
