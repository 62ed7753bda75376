"""A small DAB-DETR from scratch on generated shapes. `make demo` trains it in minutes on two CPU cores."""

from .shapes.dab_detr import dataloader, dataset, lr_multiplier, model, optimizer, train

model.queries.from_boxes = True  # docs/study.md: with this start, the first hundred steps are not lost
train.update(max_iter=2500, output_dir="output/demo_shapes")
