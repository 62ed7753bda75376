from dab_detr.models import dab_detr

from .common.train import EPOCH
from .efficient_detr_r50_36ep import dataloader, dataset, lr_multiplier, optimizer, train

model = dab_detr(depth=50)
model.collaboration.heads = ["rcnn", "atss"]
train.max_iter = 36 * EPOCH
train.output_dir = "output/co_dab_detr_r50_36ep"
