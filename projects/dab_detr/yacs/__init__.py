"""Yacs configs of Detectron2: their keys, and their translation to the nodes of a LazyConfig."""

from .keys import add_dab_detr_config, node_keys, paths_of, teach_detectron2, yacs_defaults
from .model import build_detector, yacs_backbone
from .translation import register_datasets, translate

__all__ = [
    "add_dab_detr_config",
    "build_detector",
    "node_keys",
    "paths_of",
    "register_datasets",
    "teach_detectron2",
    "translate",
    "yacs_backbone",
    "yacs_defaults",
]
