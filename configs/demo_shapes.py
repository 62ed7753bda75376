"""A small DAB-DETR from scratch on generated shapes. `make demo` trains it in minutes on two CPU cores."""

from .shapes.dab_detr import dataloader, dataset, lr_multiplier, model, optimizer, train

model.queries.from_boxes = True  # with random anchors, AP stays near zero for the first hundreds of steps
train.output_dir = "output/demo_shapes"
