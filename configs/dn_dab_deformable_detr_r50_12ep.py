from dab_detr.models import dab_deformable_detr

from .common.schedule import lr_multiplier_12ep as lr_multiplier
from .common.train import EPOCH
from .dab_detr_r50_50ep import dataloader, dataset, optimizer, train

model = dab_deformable_detr(depth=50)
model.denoising.groups = 5
model.queries.dim = 255  # the last channel says whether a query is noised
train.max_iter = 12 * EPOCH
train.output_dir = "output/dn_dab_deformable_detr_r50_12ep"
