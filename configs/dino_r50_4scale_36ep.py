from dab_detr.models import dino

from .common.schedule import lr_multiplier_36ep as lr_multiplier
from .common.train import EPOCH
from .dab_detr_r50_50ep import dataloader, dataset, optimizer, train

model = dino(depth=50)
train.max_iter = 36 * EPOCH
train.output_dir = "output/dino_r50_4scale_36ep"
