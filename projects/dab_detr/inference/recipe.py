"""From a config of either kind to what a prediction needs of it: the model, and what is done to an image before."""

import copy
import logging
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from detectron2.config import CfgNode, LazyCall, LazyConfig, get_cfg, instantiate
from detectron2.data import transforms as T
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ..checkpoint.allow_list import BUILT, check_config, current_names
from ..config import add_dab_detr_config, is_lazy, model_node, register_datasets
from ..data.coco import dataset_name
from ..overrides import apply_overrides, merge_overrides
from ..yaml_file import check_yaml

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Lazy nodes of a model, whose weights come from a checkpoint, and of its augmentations at test time."""

    model: Mapping
    augmentations: Sequence[Mapping]

    def build(self) -> tuple[nn.Module, T.AugmentationList]:
        model = copy.deepcopy(self.model)
        if "pretrained" in model["backbone"]:
            model["backbone"]["pretrained"] = False
        return instantiate(model), T.AugmentationList([instantiate(x) for x in self.augmentations])


def load_config(path: str, overrides: Sequence[str] = ()) -> DictConfig | CfgNode:
    """A config file of either kind with overrides in its own way. Raises ValueError for a key that does not exist."""
    if not path.endswith(".py"):
        check_yaml(path)
    if is_lazy(path):
        cfg = LazyConfig.load(path)
        apply_overrides(cfg, overrides)
        return cfg
    cfg = yacs_defaults()
    cfg.merge_from_file(path)
    merge_overrides(cfg, overrides)
    return cfg


def recipe_of(cfg: Mapping) -> Recipe:
    """Of a LazyConfig, which may be a plain dict, or a yacs config. Raises ValueError for one that lacks something."""
    if isinstance(cfg, CfgNode):
        resize = LazyCall(T.ResizeShortestEdge)(
            short_edge_length=cfg.INPUT.MIN_SIZE_TEST, max_size=cfg.INPUT.MAX_SIZE_TEST
        )
        return Recipe(model=model_node(cfg), augmentations=[resize])
    try:
        return Recipe(model=cfg["model"], augmentations=cfg["dataloader"]["test"]["mapper"]["augmentations"])
    except (KeyError, TypeError) as error:
        raise ValueError("the config must have model and dataloader.test.mapper.augmentations") from error


def dataset_of(cfg: DictConfig | CfgNode) -> str | None:
    """Registered name of the dataset that a config evaluates on; None where it is not here, or would be made first."""
    try:
        if isinstance(cfg, CfgNode):
            cfg = cfg.clone()
            cfg.defrost()
            register_datasets(cfg)
            return next(iter(cfg.DATASETS.TEST), None)
        split = OmegaConf.select(cfg, "dataset.val", default={})
        name = split.get("name")
        return dataset_name(
            annotations=split.get("annotations"),
            images=split.get("images"),
            default=name if isinstance(name, str) else None,
        )
    except ValueError as error:
        logger.warning("Names of the classes are not known: %s", error)
        return None


def recipe_of_stored(config: Mapping, allow: Collection[str] = ()) -> Recipe:
    """The recipe of the config that a checkpoint carries.

    allow: names that it may build beside those of `checkpoint.allow_list`.

    Raises ValueError where the config names anything else.
    """
    config = current_names(config)
    if "MODEL" not in config:
        recipe = recipe_of(config)
        for node, key in zip((recipe.model, recipe.augmentations), BUILT, strict=True):
            check_config(node, key, allow)
        return recipe
    check_config(config)
    cfg = yacs_defaults()
    cfg.merge_from_other_cfg(CfgNode(config))
    recipe = recipe_of(cfg)
    check_config(OmegaConf.to_container(recipe.model, resolve=True), "model", allow)
    return recipe


def build_stored(
    config: Mapping, path: str | os.PathLike, allow: Collection[str] = ()
) -> tuple[nn.Module, T.AugmentationList]:
    """Model and augmentations by the config that the checkpoint at `path` carries, see `recipe_of_stored`.

    Raises ValueError, which names the file, for anything in it that cannot or must not be built.
    """
    allow = [allow] if isinstance(allow, str) else allow
    try:
        model, augmentations = recipe_of_stored(config, allow).build()
        if not hasattr(model, "num_classes"):
            raise ValueError(f"model is of {type(model).__name__}, which is no detector")
        return model, augmentations
    except Exception as error:  # a config that was edited or damaged fails in any way
        cause = str(error).partition("\n")[0]
        cause = cause if isinstance(error, ValueError) else f"{type(error).__name__}: {cause}"
        raise ValueError(
            f"the config inside {path} cannot be built: {cause}; give the config yourself, with --config-file or "
            "Predictor.from_config"
        ) from error


def yacs_defaults() -> CfgNode:
    cfg = get_cfg()
    add_dab_detr_config(cfg)
    return cfg
