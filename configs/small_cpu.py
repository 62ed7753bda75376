"""A small DAB-DETR for your own pictures on a CPU. It starts from the model of `make demo`, and needs no download."""

from .common.data import dataloader, dataset
from .shapes.dab_detr import lr_multiplier, model, optimizer, train

model.num_classes = 80  # the data decides

dataloader.num_workers = 1
dataloader.train.mapper.augmentations.update(
    short_side=[160, 192, 224], max_side=373, crop_short_side=[128, 160], crop_side=[96, 160]
)
dataloader.test.mapper.augmentations[0].update(short_edge_length=224, max_size=373)

train.update(
    init_checkpoint="output/demo_shapes/model_best.pth",
    init_partially=True,
    device="cpu",
    output_dir="output/small_cpu",
)
