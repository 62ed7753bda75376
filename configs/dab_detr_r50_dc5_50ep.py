from dab_detr.models import dab_detr

from .dab_detr_r50_50ep import dataloader, dataset, lr_multiplier, optimizer, train

# the released weights of this model, and only of this one, have a temperature of 10
model = dab_detr(depth=50, dilated=True, temperature=10.0)
train.output_dir = "output/dab_detr_r50_dc5_50ep"
