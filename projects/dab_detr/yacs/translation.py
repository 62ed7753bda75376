"""The translation of a yacs config to the nodes of a LazyConfig."""

import logging
from collections.abc import Mapping

import torch
from detectron2.config import CfgNode, LazyCall
from detectron2.data.transforms import RandomFlip, ResizeShortestEdge
from fvcore.common.param_scheduler import CosineParamScheduler, MultiStepParamScheduler
from omegaconf import DictConfig, OmegaConf

from ..data.augmentation import random_crop
from ..data.coco import dataset_name, joined_datasets
from ..defaults import dataloader_node, dataset_node, optimizer_node, settings, train_node
from ..overrides import apply_overrides
from .keys import FIXED_KEYS, MODEL_KEYS, OTHER_KEYS, READ_KEYS, values_of, yacs_defaults
from .model import model_node

logger = logging.getLogger(__name__)


def translate(cfg: CfgNode) -> DictConfig:
    """Translate a yacs config to nodes. A warning names the keys that have no effect here.

    Raises ValueError for values that are not supported here.
    """
    flat = dict(values_of(cfg))
    for key, value in FIXED_KEYS.items():
        enabled = flat.get(f"{key.rpartition('.')[0]}.ENABLED", True)
        if enabled and flat[key] != value:
            raise ValueError(f"{key} must be {value!r}, got {flat[key]!r}; for anything else, write a LazyConfig")
    nodes = settings({"train": train_node(), "dataset": datasets(cfg), "dataloader": dataloader_node()})
    nodes.model, nodes.optimizer, nodes.lr_multiplier = model_node(cfg), optimizer_node(), schedule(cfg)
    for key, paths in OTHER_KEYS.items():
        for path in paths:
            OmegaConf.update(nodes, path, flat[key])
    if not cfg.SOLVER.CLIP_GRADIENTS.ENABLED:
        nodes.optimizer._target_ = torch.optim.AdamW
        del nodes.optimizer["max_norm"]
    set_augmentations(nodes.dataloader, cfg)
    warn_of_unused(flat)
    nodes.source = settings({"file": "", "set": apply_overrides(nodes, cfg.OVERRIDES)})
    return nodes


def datasets(cfg: CfgNode) -> DictConfig:
    """The node `dataset`: files, otherwise names in Detectron2's catalog."""
    node = dataset_node()
    for split, key in (("train", "TRAIN"), ("val", "TEST")):
        names = list(cfg.DATASETS[key])
        node[split].annotations = cfg.DATASETS[f"{key}_ANNOTATIONS"] or None
        node[split].images = cfg.DATASETS[f"{key}_IMAGES"] or None
        node[split].name = names[0] if names else None
        if len(names) > 1 and key == "TEST":
            raise ValueError(f"DATASETS.TEST names {names}: keep one, and evaluate the others with --eval-only")
        if len(names) > 1:
            node[split].name = LazyCall(joined_datasets)(names=names)
    return node


def schedule(cfg: CfgNode) -> DictConfig:
    """The node `lr_multiplier`. The warm-up is in `train`."""
    solver = cfg.SOLVER
    if solver.LR_SCHEDULER_NAME == "WarmupCosineLR":
        return LazyCall(CosineParamScheduler)(start_value=1.0, end_value=0.0)
    if solver.LR_SCHEDULER_NAME != "WarmupMultiStepLR":
        raise ValueError(
            "SOLVER.LR_SCHEDULER_NAME must be 'WarmupMultiStepLR' or 'WarmupCosineLR', "
            f"got {solver.LR_SCHEDULER_NAME!r}; for any other schedule, write a LazyConfig"
        )
    steps = [x for x in solver.STEPS if x <= solver.MAX_ITER]
    values = [solver.GAMMA**k for k in range(len(steps) + 1)]
    return LazyCall(MultiStepParamScheduler)(values=values, milestones=steps, num_updates=solver.MAX_ITER)


def set_augmentations(loaders: DictConfig, cfg: CfgNode) -> None:
    """Set the sizes, flips and crops of the loaders from INPUT."""
    given, resize = cfg.INPUT, LazyCall(ResizeShortestEdge)
    train = []
    if given.RANDOM_FLIP != "none":
        flips = {"horizontal": given.RANDOM_FLIP == "horizontal", "vertical": given.RANDOM_FLIP == "vertical"}
        train.append(LazyCall(RandomFlip)(**flips))
    if given.CROP.ENABLED:
        train.append(
            LazyCall(random_crop)(short_side=list(given.CROP.SHORT_SIDE), crop_side=[int(x) for x in given.CROP.SIZE])
        )
    if any(given.MIN_SIZE_TRAIN):
        train.append(
            resize(
                short_edge_length=list(given.MIN_SIZE_TRAIN),
                max_size=given.MAX_SIZE_TRAIN,
                sample_style=given.MIN_SIZE_TRAIN_SAMPLING,
            )
        )
    test = [resize(short_edge_length=given.MIN_SIZE_TEST, max_size=given.MAX_SIZE_TEST)] if given.MIN_SIZE_TEST else []
    loaders.train.mapper.augmentations, loaders.test.mapper.augmentations = train, test


def warn_of_unused(values: Mapping[str, object]) -> None:
    """Warn of keys that a yacs config sets but that have no effect here."""
    read = {*MODEL_KEYS, *OTHER_KEYS, *READ_KEYS, *FIXED_KEYS}
    sections = ("SOLVER.", "INPUT.", "DATASETS.", "DATALOADER.", "TEST.")
    defaults = dict(values_of(yacs_defaults()))
    unused = [
        key
        for key, value in values.items()
        if key.startswith(sections) and key not in read and value != defaults.get(key)
    ]
    if unused:
        logger.warning("These keys of the yaml config have no effect: %s", ", ".join(unused))


def register_datasets(cfg: CfgNode) -> None:
    """Register the datasets that DATASETS names by their files, and set DATASETS.TRAIN and TEST to them.

    Scripts with Detectron2's own trainer need this; `load` does not.
    """
    for split in ("TRAIN", "TEST"):
        annotations, images = cfg.DATASETS[f"{split}_ANNOTATIONS"], cfg.DATASETS[f"{split}_IMAGES"]
        if annotations or images:
            cfg.DATASETS[split] = (dataset_name(annotations=annotations or None, images=images or None),)
