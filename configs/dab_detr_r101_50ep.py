from dab_detr.models import dab_detr

from .dab_detr_r50_50ep import dataloader, dataset, lr_multiplier, optimizer, train

model = dab_detr(depth=101)
train.init_checkpoint = "https://download.pytorch.org/models/resnet101-63fe2227.pth"
train.output_dir = "output/dab_detr_r101_50ep"
