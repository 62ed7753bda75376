from dab_detr.models import deformable_detr

from .common.schedule import lr_multiplier_12ep as lr_multiplier
from .common.train import EPOCH
from .dab_detr_r50_50ep import dataloader, dataset, optimizer, train

model = deformable_detr(depth=50, mixed=True)
model.collaboration.heads = ["rcnn", "atss"]
optimizer.lr = 2e-4
optimizer.params.lr_factors = {"backbone": 0.1, "offsets": 0.1}
train.max_iter = 12 * EPOCH
train.output_dir = "output/co_deformable_detr_r50_12ep"
