"""DINO with the best hyperparameters of detrex. (Denoising keeps class weight 1 there; here all losses have 2.)"""

from dab_detr.models import dino

from .common.schedule import lr_multiplier_12ep as lr_multiplier
from .common.train import EPOCH
from .dab_detr_r50_50ep import dataloader, dataset, optimizer, train

model = dino(depth=50, shared_heads=False, temperature=10000.0, offset=-0.5)
model.backbone.freeze_at = 0
model.denoising.num_queries = 300
model.criterion.weight_class = 2.0
optimizer.lr = 2e-4
optimizer.params.lr_factors = {"backbone": 0.1, "offsets": 0.1}
train.max_iter = 12 * EPOCH
train.output_dir = "output/dino_r50_4scale_12ep_better"
