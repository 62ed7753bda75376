from dab_detr.models import dab_detr

from .dab_detr_r50_50ep import dataloader, dataset, lr_multiplier, optimizer, train

model = dab_detr(depth=50, num_patterns=3)
train.output_dir = "output/dab_detr_r50_3patterns_50ep"
