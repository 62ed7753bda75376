from dab_detr.models import dab_detr

from ..common.photographs import photographs
from .dab_detr import dataloader, dataset, lr_multiplier, optimizer, train

model = photographs(dab_detr(depth=18))
model.denoising.groups = 5
model.criterion.weight_class = 3.0
train.output_dir = "output/photographs/dn_dab_detr"
