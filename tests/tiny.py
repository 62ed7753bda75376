"""Trainings that take seconds: four images of 20 x 10 pixels, and by overrides a small model on images of 64."""

import argparse
import shlex
from pathlib import Path

from detectron2.engine import default_argument_parser

from coco_files import content, write

CONFIGS = Path(__file__).parents[1] / "configs"
LAZY, YAML = CONFIGS / "dab_detr_r50_50ep.py", CONFIGS / "dab_detr_r50_50ep.yaml"

_LAZY = """
model.backbone.depth=18 model.backbone.width=8 model.neck.in_channels=64 model.neck.dim=32
model.encoder.num_layers=1 model.encoder.heads=4 model.encoder.hidden=32 model.decoder.layers.num_layers=2
model.queries.num_queries=10 dataloader.num_workers=0 dataloader.train.total_batch_size=2
dataloader.train.mapper.augmentations.short_side=[64] dataloader.train.mapper.augmentations.crop_short_side=[64]
dataloader.test.mapper.augmentations.0.short_edge_length=64 train.init_checkpoint='' train.device=cpu
train.max_iter=4 train.checkpointer.period=2 train.eval_period=0 train.log_period=2 train.preview.num_images=1
"""
_YAML = """
MODEL.RESNETS.DEPTH 18 MODEL.RESNETS.STEM_OUT_CHANNELS 8 MODEL.DAB_DETR.DIM 32 MODEL.DAB_DETR.ENCODER_LAYERS 1
MODEL.DAB_DETR.HEADS 4 MODEL.DAB_DETR.HIDDEN 32 MODEL.DAB_DETR.DECODER_LAYERS 2 MODEL.DAB_DETR.NUM_QUERIES 10
DATALOADER.NUM_WORKERS 0 SOLVER.IMS_PER_BATCH 2 INPUT.MIN_SIZE_TRAIN (64,) INPUT.CROP.SHORT_SIDE [64]
INPUT.MIN_SIZE_TEST 64 MODEL.WEIGHTS '' MODEL.DEVICE cpu SOLVER.MAX_ITER 4 SOLVER.CHECKPOINT_PERIOD 2
TEST.EVAL_PERIOD 0
"""


def lazy_opts(folder: Path) -> list[str]:
    """Overrides for a LazyConfig; the data and the output are in `folder`."""
    opts = [*shlex.split(_LAZY, posix=False), f"train.output_dir={folder / 'output'}"]
    for split in ("train", "val"):
        opts += [f"dataset.{split}.{key}={value}" for key, value in write(folder, split, content()).items()]
    return opts


def yaml_opts(folder: Path) -> list[str]:
    """Overrides for a yacs config; the data and the output are in `folder`."""
    opts = [*shlex.split(_YAML), "OUTPUT_DIR", str(folder / "output")]
    for split, key in (("train", "TRAIN"), ("val", "TEST")):
        for name, value in write(folder, split, content()).items():
            opts += [f"DATASETS.{key}_{name.upper()}", str(value)]
    return opts


def arguments(*args) -> argparse.Namespace:
    """Detectron2's standard arguments."""
    return default_argument_parser().parse_args([str(x) for x in args])
