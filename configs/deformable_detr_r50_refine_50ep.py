from dab_detr.models import deformable_detr

from .deformable_detr_r50_50ep import dataloader, dataset, lr_multiplier, optimizer, train

model = deformable_detr(depth=50, refine=True)
train.output_dir = "output/deformable_detr_r50_refine_50ep"
