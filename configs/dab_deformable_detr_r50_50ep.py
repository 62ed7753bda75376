from dab_detr.models import dab_deformable_detr

from .dab_detr_r50_50ep import dataloader, dataset, lr_multiplier, optimizer, train

model = dab_deformable_detr(depth=50)
train.output_dir = "output/dab_deformable_detr_r50_50ep"
