from dab_detr.models import dab_detr

from .common.schedule import lr_multiplier_12ep as lr_multiplier
from .common.train import EPOCH
from .dab_detr_r50_50ep import dataloader, dataset, optimizer, train

model = dab_detr(depth=50, dilated=True, num_patterns=3)
model.denoising.groups = 5
train.max_iter = 12 * EPOCH
train.output_dir = "output/dn_dab_detr_r50_dc5_3patterns_12ep"
