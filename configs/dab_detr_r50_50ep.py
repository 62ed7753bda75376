from dab_detr.models import dab_detr

from .common.data import dataloader, dataset
from .common.optim import optimizer
from .common.schedule import lr_multiplier_50ep as lr_multiplier
from .common.train import train

model = dab_detr(depth=50)
train.output_dir = "output/dab_detr_r50_50ep"
