from dab_detr.models import efficient_detr

from .common.schedule import lr_multiplier_36ep as lr_multiplier
from .common.train import EPOCH
from .dab_detr_r50_50ep import dataloader, dataset, optimizer, train

model = efficient_detr(depth=50)
train.max_iter = 36 * EPOCH
train.output_dir = "output/efficient_detr_r50_36ep"
