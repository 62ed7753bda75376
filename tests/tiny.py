"""Trainings that take seconds: four images of 20 x 10 pixels, and by overrides a small model on images of 64.

`shrink` makes any member of the family small, and leaves what it is made of.
"""

import argparse
import shlex
from collections.abc import Sequence
from pathlib import Path

import torch
from detectron2.config import instantiate
from omegaconf import DictConfig
from torch import nn

import train_net
from coco_files import content, write
from dab_detr.config import load
from dab_detr.engine.setup import configure
from golden_cases import make_weight

CONFIGS = Path(__file__).parents[1] / "configs"
LAZY, YAML = CONFIGS / "dab_detr_r50_50ep.py", CONFIGS / "dab_detr_r50_50ep.yaml"

_MODEL = """
model.backbone.depth=18 model.backbone.width=8 model.neck.in_channels=64 model.neck.dim=32
model.encoder.num_layers=1 model.encoder.heads=4 model.encoder.hidden=32 model.decoder.layers.num_layers=2
model.queries.num_queries=10
"""
_SIZES = """
dataloader.train.mapper.augmentations.short_side=[64] dataloader.train.mapper.augmentations.crop_short_side=[64]
dataloader.test.mapper.augmentations.0.short_edge_length=64
"""
_LAZY = """
dataloader.num_workers=0 dataloader.train.total_batch_size=2 train.init_checkpoint='' train.device=cpu
train.max_iter=4 train.checkpointer.period=2 train.eval_period=0 train.log_period=2 train.preview.num_images=1
train.report=False
"""
_YAML = """
MODEL.RESNETS.DEPTH 18 MODEL.RESNETS.STEM_OUT_CHANNELS 8 MODEL.DAB_DETR.DIM 32 MODEL.DAB_DETR.ENCODER_LAYERS 1
MODEL.DAB_DETR.HEADS 4 MODEL.DAB_DETR.HIDDEN 32 MODEL.DAB_DETR.DECODER_LAYERS 2 MODEL.DAB_DETR.NUM_QUERIES 10
DATALOADER.NUM_WORKERS 0 SOLVER.IMS_PER_BATCH 2 INPUT.MIN_SIZE_TRAIN (64,) INPUT.CROP.SHORT_SIDE [64]
INPUT.MIN_SIZE_TEST 64 MODEL.WEIGHTS '' MODEL.DEVICE cpu SOLVER.MAX_ITER 4 SOLVER.CHECKPOINT_PERIOD 2
TEST.EVAL_PERIOD 0
"""


def shrink(model: DictConfig) -> DictConfig:
    """The node of any model, changed in place: 32 channels, 1 + 2 layers, 10 queries, a thin backbone."""
    missing = model.neck.dim - model.queries.get(
        "dim", model.neck.dim
    )  # the channel that denoising adds to learned content
    shrink_backbone(model.backbone)
    shapes = instantiate(model.backbone).output_shape()
    if "feature" in model.neck:
        model.neck.in_channels = shapes[model.neck.feature].channels
    else:
        model.neck.in_channels = {name: shapes[name].channels for name in model.neck.in_channels}
        model.neck.groups = 8
    model.neck.dim, model.encoder.num_layers, model.decoder.layers.num_layers = 32, 1, 2
    model.encoder.heads, model.encoder.hidden = 4, 64
    if "num_queries" in model.queries:
        model.queries.num_queries = 10
    if missing:
        model.queries.dim = 32 - missing
    return model


def shrink_backbone(backbone: DictConfig) -> None:
    """The node of a backbone, changed in place: few channels, and no weights of timm."""
    if "base" in backbone:
        backbone.base.update(name="test_vit", pretrained=False)
        backbone.dim = 32
    elif "frozen" in backbone:
        backbone.name = "test_resnet"
    elif "name" in backbone:
        backbone.update(pretrained=False, embed_dim=16, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1])
    else:
        backbone.depth, backbone.width = 50 if backbone.dilated else 18, 4


def with_heads(model: DictConfig, heads: Sequence[str] = ("rcnn", "atss")) -> DictConfig:
    """The node with small auxiliary heads of these names, changed in place."""
    model.collaboration.heads = list(heads)
    model.collaboration.rcnn.update(hidden=32, num_anchors=64, num_regions=32, proposals=[100, 50])
    return model


def shrink_levels(model: DictConfig) -> DictConfig:
    """The node of any model, changed in place: one level of the backbone, one further level, and one decoder layer,
    where it has several levels."""
    if "num_levels" in model.neck:
        model.neck.in_channels, model.neck.num_levels = {"res5": model.neck.in_channels["res5"]}, 2
        model.decoder.layers.num_layers = 1
    return model


def tell_apart(model: nn.Module) -> nn.Module:
    """Gives all that comes after the backbone weights with which every query answers otherwise."""
    for name, tensor in model.state_dict().items():
        if not name.startswith("backbone."):
            tensor.copy_(torch.from_numpy(make_weight(name, list(tensor.shape))))
    return model


def lazy_opts(folder: Path) -> list[str]:
    """Overrides for a LazyConfig of DAB-DETR; the data and the output are in `folder`."""
    return [*shlex.split(_MODEL), *data_opts(folder)]


def model_opts() -> list[str]:
    """Overrides for a small DAB-DETR on images of 64."""
    return [*shlex.split(_MODEL), *shlex.split(_SIZES)]


def data_opts(folder: Path, demo: bool = False) -> list[str]:
    """Overrides for a LazyConfig of any model, which leave the model. The demo's resizes no images, and would draw
    its data where the name of that stays."""
    settings = shlex.split(_LAZY if demo else _LAZY + _SIZES, posix=False)
    opts = [*settings, f"train.output_dir={folder / 'output'}"]
    for split in ("train", "val"):
        opts += [f"dataset.{split}.name=null"] if demo else []
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
    """The arguments of train_net.py."""
    return train_net.parse([str(x) for x in args])


def configured(*args) -> DictConfig:
    """The config of a training, as train_net.py completes it."""
    parsed = arguments(*args)
    return configure(load(parsed.config_file, parsed.opts), parsed)
