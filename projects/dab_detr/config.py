"""The way in by a yacs config. What is wired is that of `models`; the keys here only set its values."""

import re
from functools import partial
from pathlib import Path

import torch
from detectron2.config import CfgNode, LazyCall, instantiate
from detectron2.modeling import build_backbone
from omegaconf import DictConfig, OmegaConf

from .data.coco import dataset_name
from .models import MODELS
from .overrides import apply_overrides

# keys of MODEL.DAB_DETR, and what they set in the node of the model
PATHS = {
    "NUM_CLASSES": ["num_classes"],
    "IN_FEATURE": ["neck.feature"],
    "NUM_QUERIES": ["queries.num_queries"],
    "NUM_PATTERNS": ["queries.num_patterns"],
    "UNIFORM_XY": ["queries.uniform_xy"],
    "FIXED_XY": ["queries.fixed_xy"],
    "DIM": ["neck.dim"],
    "HEADS": ["encoder.heads"],
    "HIDDEN": ["encoder.hidden"],
    "DROPOUT": ["encoder.dropout"],
    "ENCODER_LAYERS": ["encoder.num_layers"],
    "DECODER_LAYERS": ["decoder.layers.num_layers"],
    "TEMPERATURE": ["neck.position.temperature_x", "neck.position.temperature_y"],
    "NUM_SELECT": ["selection.num_select"],
    "DENOISING_GROUPS": ["denoising.groups"],
}


def is_lazy(config_file: str) -> bool:
    """Whether it is a LazyConfig, which training saves as yaml too."""
    path = Path(config_file)
    return path.suffix == ".py" or bool(re.search("^dataloader:", path.read_text(), re.MULTILINE))


def add_dab_detr_config(cfg: CfgNode) -> None:
    """Add the keys that a DAB-DETR has beside Detectron2's own. None is for what the model has by itself."""
    cfg.MODEL.DAB_DETR = CfgNode(dict.fromkeys(PATHS))
    cfg.MODEL.DAB_DETR.NUM_CLASSES = 80
    # the member of the family: one of `models.MODELS`
    cfg.MODEL.DAB_DETR.VARIANT = "dab_detr"
    # for all else, overrides of the model's node: ["decoder.prior.modulate=False", "criterion.weight_giou=3.0"]
    cfg.MODEL.DAB_DETR.OVERRIDES = []
    # whether what does not fit in MODEL.WEIGHTS starts anew; else only classes may differ
    cfg.MODEL.DAB_DETR.INIT_PARTIALLY = False
    # learning rate of the backbone, as a factor of BASE_LR
    cfg.SOLVER.BACKBONE_MULTIPLIER = 0.1
    # micro-batches that each process cuts its share of IMS_PER_BATCH into
    cfg.SOLVER.ACCUMULATE = 1
    # experiment trackers to write to beside metrics.json and TensorBoard: "wandb", "mlflow"
    cfg.WRITERS = []
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
    """The lazy node of the model, one of `models.MODELS`, but that its backbone is built by the yacs config.

    Raises ValueError for a variant that does not exist and for keys that the variant has no use for.
    """
    own = cfg.MODEL.DAB_DETR
    if own.VARIANT not in MODELS:
        raise ValueError(f"MODEL.DAB_DETR.VARIANT must be one of {list(MODELS)}, got {own.VARIANT!r}")
    node = MODELS[own.VARIANT]()
    node.backbone = LazyCall(partial(build_backbone, cfg.clone()))()
    for key, paths in PATHS.items():
        for path in paths if own[key] is not None else ():
            if OmegaConf.select(node, path) is None:
                raise ValueError(f"MODEL.DAB_DETR.{key} means nothing to the variant {own.VARIANT!r}: leave it out")
            OmegaConf.update(node, path, own[key])
    set_channels(node.neck, cfg)
    node.pixel_mean, node.pixel_std = list(cfg.MODEL.PIXEL_MEAN), list(cfg.MODEL.PIXEL_STD)
    node.input_format = cfg.INPUT.FORMAT
    apply_overrides(node, own.OVERRIDES)
    return node


def set_channels(neck: DictConfig, cfg: CfgNode) -> None:
    """Tell the node of the neck how many channels the feature maps have; of one that is not there the model says so."""
    with torch.device("meta"):  # only the shapes are asked for
        shapes = build_backbone(cfg).output_shape()
    if "feature" in neck:
        if neck.feature in shapes:
            neck.in_channels = shapes[neck.feature].channels
    else:
        neck.in_channels.update({name: shapes[name].channels for name in neck.in_channels if name in shapes})


def instantiate_parts(cfg: CfgNode) -> dict:
    """The arguments of `DABDETR` for a yacs config."""
    return {name: instantiate(part) for name, part in model_node(cfg).items() if name != "_target_"}
