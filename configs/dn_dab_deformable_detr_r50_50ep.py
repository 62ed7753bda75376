from dab_detr.models import dab_deformable_detr

from .dab_detr_r50_50ep import dataloader, dataset, lr_multiplier, optimizer, train

model = dab_deformable_detr(depth=50)
model.denoising.groups = 5
model.queries.dim = 255  # the last channel says whether a query is noised
train.output_dir = "output/dn_dab_deformable_detr_r50_50ep"
