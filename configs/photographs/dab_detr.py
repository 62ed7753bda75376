"""DAB-DETR for photographs on a CPU, on a backbone that has seen ImageNet and does not learn.

`python -m benchmarks.study --preset photographs --data FOLDER` writes the backbone's weights and compares members.
"""

from dab_detr.models import dab_detr

from ..common.photographs import photographs
from ..shapes.dab_detr import lr_multiplier
from ..small_cpu import dataloader, dataset, optimizer, train

model = photographs(dab_detr(depth=18))
model.criterion.weight_class = 3.0
dataloader.train.total_batch_size = 8
dataloader.train.mapper.augmentations.update(short_side=[144, 160, 176], max_side=293)
dataloader.test.mapper.augmentations[0].update(short_edge_length=160, max_size=267)
train.update(
    init_checkpoint="output/study/photographs/backbone.pth",
    output_dir="output/photographs/dab_detr",
)
