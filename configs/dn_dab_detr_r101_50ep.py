from dab_detr.models import dab_detr

from .dab_detr_r101_50ep import dataloader, dataset, lr_multiplier, optimizer, train

model = dab_detr(depth=101)
model.denoising.groups = 5
train.output_dir = "output/dn_dab_detr_r101_50ep"
