from dab_detr.models import dab_detr

from .dab_detr_r101_50ep import dataloader, dataset, lr_multiplier, optimizer, train

model = dab_detr(depth=101, dilated=True)
train.output_dir = "output/dab_detr_r101_dc5_50ep"
