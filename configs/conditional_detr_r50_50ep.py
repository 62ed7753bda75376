from dab_detr.models import conditional_detr

from .dab_detr_r50_50ep import dataloader, dataset, lr_multiplier, optimizer, train

model = conditional_detr(depth=50)
train.output_dir = "output/conditional_detr_r50_50ep"
