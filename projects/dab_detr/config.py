"""The way in by a yacs config. What is wired is that of `models`; the keys here only set its values."""

from functools import partial

import torch
from detectron2.config import CfgNode, LazyCall, instantiate
from detectron2.modeling import build_backbone
from omegaconf import DictConfig

from .data.coco import dataset_name
from .models import dab_detr
from .overrides import apply_overrides


def add_dab_detr_config(cfg: CfgNode) -> None:
    """Add the keys that a DAB-DETR has beside Detectron2's own. What they mean says `models.dab_detr`."""
    cfg.MODEL.DAB_DETR = CfgNode(
        {
            "NUM_CLASSES": 80,
            "NUM_QUERIES": 300,
            "NUM_PATTERNS": 0,
            "UNIFORM_XY": False,
            "FIXED_XY": False,
            "DIM": 256,
            "HEADS": 8,
            "HIDDEN": 2048,
            "DROPOUT": 0.0,
            "ENCODER_LAYERS": 6,
            "DECODER_LAYERS": 6,
            "TEMPERATURE": 20.0,
            "IN_FEATURE": "res5",
            "NUM_SELECT": 300,
            # for all else, overrides of the lazy node: ["decoder.prior.modulate=False", "criterion.weight_giou=3.0"]
            "OVERRIDES": [],
        }
    )
    # learning rate of the backbone, as a factor of BASE_LR
    cfg.SOLVER.BACKBONE_MULTIPLIER = 0.1
    # lengths of the shorter side before a crop by INPUT.CROP
    cfg.INPUT.CROP.SHORT_SIDE = [400, 500, 600]
    # a COCO-format annotation file and its image folder, which `register_datasets` puts in the place of TRAIN and TEST
    cfg.DATASETS.TRAIN_ANNOTATIONS = ""
    cfg.DATASETS.TRAIN_IMAGES = ""
    cfg.DATASETS.TEST_ANNOTATIONS = ""
    cfg.DATASETS.TEST_IMAGES = ""


def register_datasets(cfg: CfgNode) -> None:
    """Register the datasets that DATASETS names by their files, and set DATASETS.TRAIN and TEST to them."""
    for split in ("TRAIN", "TEST"):
        annotations, images = cfg.DATASETS[f"{split}_ANNOTATIONS"], cfg.DATASETS[f"{split}_IMAGES"]
        if annotations or images:
            cfg.DATASETS[split] = (dataset_name(annotations=annotations or None, images=images or None),)


def model_node(cfg: CfgNode) -> DictConfig:
    """The lazy node of the model, like one of `models.dab_detr`, but that its backbone is built by the yacs config."""
    own = cfg.MODEL.DAB_DETR
    node = dab_detr(num_patterns=own.NUM_PATTERNS, fixed_xy=own.FIXED_XY, temperature=own.TEMPERATURE)
    node.backbone = LazyCall(partial(build_backbone, cfg.clone()))()
    node.neck.feature, node.neck.dim = own.IN_FEATURE, own.DIM
    with torch.device("meta"):  # only the shapes are asked for
        shapes = build_backbone(cfg).output_shape()
    if own.IN_FEATURE in shapes:  # else the model says what there is
        node.neck.in_channels = shapes[own.IN_FEATURE].channels
    node.encoder.update(num_layers=own.ENCODER_LAYERS, heads=own.HEADS, hidden=own.HIDDEN, dropout=own.DROPOUT)
    node.queries.update(num_queries=own.NUM_QUERIES, uniform_xy=own.UNIFORM_XY)
    node.decoder.layers.num_layers = own.DECODER_LAYERS
    node.num_classes, node.num_select = own.NUM_CLASSES, own.NUM_SELECT
    node.pixel_mean, node.pixel_std = list(cfg.MODEL.PIXEL_MEAN), list(cfg.MODEL.PIXEL_STD)
    node.input_format = cfg.INPUT.FORMAT
    apply_overrides(node, own.OVERRIDES)
    return node


def instantiate_parts(cfg: CfgNode) -> dict:
    """The arguments of `DABDETR` for a yacs config."""
    return {name: instantiate(part) for name, part in model_node(cfg).items() if name != "_target_"}
