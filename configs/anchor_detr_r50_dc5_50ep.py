from dab_detr.models import anchor_detr

from .common.train import EPOCH
from .dab_detr_r50_50ep import dataloader, dataset, lr_multiplier, optimizer, train

model = anchor_detr(depth=50, dilated=True)
dataloader.train.total_batch_size = 8
train.max_iter = 50 * 2 * EPOCH
train.eval_period = train.checkpointer.period = 2 * EPOCH
train.output_dir = "output/anchor_detr_r50_dc5_50ep"
