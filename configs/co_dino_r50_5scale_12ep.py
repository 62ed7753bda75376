from detectron2.config import LazyCall as L

from dab_detr.losses.classification import QualityFocalLoss
from dab_detr.models import dino

from .dino_r50_5scale_12ep import dataloader, dataset, lr_multiplier, optimizer, train

model = dino(depth=50, five_scale=True, shared_heads=False)
model.criterion.classification = L(QualityFocalLoss)()
model.criterion.eps = 0.0
model.collaboration.heads = ["rcnn", "atss"]
model.queries.xavier = False
model.selection.update(num_select=900, soft_nms=0.8, num_keep=300)
optimizer.lr = 2e-4
train.output_dir = "output/co_dino_r50_5scale_12ep"
