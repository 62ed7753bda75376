from dab_detr.models import detr

from .dab_detr_r50_50ep import dataloader, dataset, lr_multiplier, optimizer, train

model = detr(depth=50)
train.output_dir = "output/detr_r50_50ep"
