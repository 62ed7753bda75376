from dab_detr.models import deformable_detr

from .deformable_detr_r50_50ep import dataloader, dataset, lr_multiplier, optimizer, train

model = deformable_detr(depth=50, two_stage=True)
optimizer.params.lr_factors = {"backbone": 0.1, "offsets": 0.1}
train.output_dir = "output/deformable_detr_r50_two_stage_50ep"
