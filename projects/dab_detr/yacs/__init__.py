"""Yacs configs of Detectron2: their keys, and their translation to the nodes of a LazyConfig.

Importing the package registers the meta-architecture `DABDETR`, so that Detectron2's `build_model(cfg)` works with the
yaml.
"""

from .keys import add_dab_detr_config, paths_of, yacs_defaults
from .model import DABDETR, yacs_backbone
from .translation import register_datasets, translate

__all__ = [
    "DABDETR",
    "add_dab_detr_config",
    "paths_of",
    "register_datasets",
    "translate",
    "yacs_backbone",
    "yacs_defaults",
]
