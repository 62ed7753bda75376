from dab_detr.models import deformable_detr

from .common.train import EPOCH
from .dab_detr_r50_50ep import dataloader, dataset, lr_multiplier, optimizer, train

model = deformable_detr(depth=50)
optimizer.lr = 2e-4
optimizer.params.lr_factors = {"backbone": 0.1, "offsets": 0.1, "point_head": 0.1}
dataloader.train.total_batch_size = 32
train.max_iter = 50 * (EPOCH // 2)
train.eval_period = train.checkpointer.period = EPOCH // 2
train.output_dir = "output/deformable_detr_r50_50ep"
