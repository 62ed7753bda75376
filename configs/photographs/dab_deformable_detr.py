from dab_detr.models import dab_deformable_detr

from ..common.photographs import photographs
from ..demo_shapes import lr_multiplier
from ..small_cpu import dataloader, dataset, optimizer, train

model = photographs(dab_deformable_detr(depth=18))
model.criterion.weight_class = 3.0
dataloader.train.total_batch_size = 8
train.output_dir = "output/photographs/dab_deformable_detr"
