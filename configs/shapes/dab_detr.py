"""A small DAB-DETR from scratch on generated shapes, as the paper starts it: centers drawn uniformly, random sizes."""

from detectron2.config import LazyCall as L
from detectron2.data.transforms import RandomFlip
from detectron2.solver import WarmupParamScheduler
from fvcore.common.param_scheduler import MultiStepParamScheduler

from dab_detr.data.shapes import shapes_split
from dab_detr.models import dab_detr

from ..common.data import dataloader, dataset
from ..common.optim import optimizer
from ..common.shapes import shrink
from ..common.train import train

# the pictures are written once, when they are first needed
dataset.train.name = L(shapes_split)(split="train", num_train=12000, num_val=500)
dataset.val.name = L(shapes_split)(split="val", num_train=12000, num_val=500)
dataloader.num_workers = 1
dataloader.train.mapper.augmentations = [L(RandomFlip)()]
dataloader.test.mapper.augmentations = []

model = shrink(dab_detr(depth=18))
model.queries.uniform_xy = True
model.criterion.weight_class = 3.0
model.selection.num_select = 100

optimizer.lr = 6e-4
optimizer.params.lr_factors = {"backbone": 2.0}
lr_multiplier = L(WarmupParamScheduler)(
    scheduler=L(MultiStepParamScheduler)(values=[1.0, 0.1], milestones=[8], num_updates=10),
    warmup_factor=0.001,
    warmup_length=0.05,
)

train.update(init_checkpoint="", max_iter=3500, eval_period=500, output_dir="output/shapes/dab_detr", seed=0)
train.checkpointer.update(period=1000, max_to_keep=2)
