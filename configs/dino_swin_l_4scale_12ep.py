from dab_detr.models import dino
from dab_detr.models.backbones import swin_node

from .common.schedule import lr_multiplier_12ep as lr_multiplier
from .common.train import EPOCH
from .dab_detr_r50_50ep import dataloader, dataset, optimizer, train

MAPS = ("res3", "res4", "res5")

model = dino()
model.backbone = swin_node("swin_large_patch4_window12_384", MAPS)
model.neck.in_channels = {"res3": 384, "res4": 768, "res5": 1536}
model.activation_checkpointing = ["encoder"]
train.init_checkpoint = ""
train.max_iter = 12 * EPOCH
train.output_dir = "output/dino_swin_l_4scale_12ep"
