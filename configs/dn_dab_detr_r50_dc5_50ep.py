from dab_detr.models import dab_detr

from .dab_detr_r50_50ep import dataloader, dataset, lr_multiplier, optimizer, train

model = dab_detr(depth=50, dilated=True)
model.denoising.groups = 5
train.output_dir = "output/dn_dab_detr_r50_dc5_50ep"
