"""DINO on a plain vision transformer of DINOv3, whose attention sees the padding of a batch: group images by shape."""

from dab_detr.models import dino
from dab_detr.models.backbones import vit_node

from .common.schedule import lr_multiplier_12ep as lr_multiplier
from .common.train import EPOCH
from .dab_detr_r50_50ep import dataloader, dataset, optimizer, train

MAPS = ("res3", "res4", "res5")

model = dino()
model.backbone = vit_node("vit_small_patch16_dinov3", MAPS)
model.neck.in_channels = dict.fromkeys(MAPS, 256)
dataloader.train.aspect_ratio_grouping = True
train.init_checkpoint = ""
train.max_iter = 12 * EPOCH
train.output_dir = "output/dino_dinov3_vit_s_4scale_12ep"
