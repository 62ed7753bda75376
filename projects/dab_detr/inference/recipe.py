"""Takes from a config what a prediction needs: the model, and the augmentations at test time."""

import copy
import logging
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode, instantiate
from detectron2.data import transforms as T
from omegaconf import DictConfig, ListConfig, OmegaConf
from torch import Tensor, nn

from ..checkpoint.allow_list import BUILT, check_config, check_references, current_names
from ..config import translate, yacs_defaults
from ..data.coco import dataset_name

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Lazy nodes of a model, whose weights come from a checkpoint, and of its augmentations at test time."""

    model: Mapping
    augmentations: Sequence[Mapping]

    def build(self) -> tuple[nn.Module, T.AugmentationList]:
        """Build both, without the model's auxiliary heads, which only training needs, and without downloads."""
        model = without_downloads(copy.deepcopy(self.model))
        if "collaboration" in model:
            model["collaboration"] = None
        return instantiate(model), T.AugmentationList([instantiate(x) for x in self.augmentations])


def without_downloads(node: Any) -> Any:
    """The same node, changed in place, with `pretrained=False` wherever it has that key."""
    if isinstance(node, dict | DictConfig):
        for name in node:
            if name == "pretrained":
                node[name] = False
            elif not (isinstance(node, DictConfig) and OmegaConf.is_interpolation(node, name)):
                without_downloads(node[name])
    elif isinstance(node, list | tuple | ListConfig):
        for inner in node:
            without_downloads(inner)
    return node


def recipe_of(cfg: Mapping) -> Recipe:
    """The recipe of a config, which may be a plain dict. Raises ValueError for a config that lacks a part of it."""
    try:
        return Recipe(model=cfg["model"], augmentations=cfg["dataloader"]["test"]["mapper"]["augmentations"])
    except (KeyError, TypeError) as error:
        raise ValueError("the config must have model and dataloader.test.mapper.augmentations") from error


def dataset_of(cfg: DictConfig) -> str | None:
    """Registered name of the dataset that a config evaluates on. None if it is not on this machine or not made yet."""
    try:
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

    allow: names that it may build besides those in `checkpoint.allow_list`.

    Raises ValueError if the config names anything else.
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
    nodes = translate(cfg)
    check_references(OmegaConf.to_container(nodes, resolve=False), "config")
    recipe = recipe_of(OmegaConf.to_container(nodes, resolve=True))
    for node, key in zip((recipe.model, recipe.augmentations), BUILT, strict=True):
        check_config(node, key, allow)
    return recipe


def check_size(recipe: Recipe, weights: Mapping[str, Tensor]) -> None:
    """Raise ValueError for a model far larger than its weights, before any memory is asked for."""
    most = max(1000, len(weights))
    for key, value in counts(recipe.model):
        if value > most:
            raise ValueError(f"model.{key} is {value}, the checkpoint has {len(weights)} tensors")
    try:
        with torch.device("meta"):
            model, _ = recipe.build()
    except RuntimeError:  # some parts compute with their numbers when they are built
        return
    have, needed = (sum(x.numel() for x in state.values()) for state in (weights, model.state_dict()))
    if needed > 2 * have + 1_000_000:
        raise ValueError(f"the model has {needed} weights, the checkpoint {have}")


def counts(node: Any, key: str = "") -> Iterator[tuple[str, int]]:
    """Every number of layers, blocks and stages in a node, with its key."""
    items = (
        node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list | ListConfig) else ()
    )
    for name, value in items:
        path = f"{key}.{name}" if key else str(name)
        own = path.rstrip(".0123456789").rpartition(".")[2]  # decoder.layers.hidden is a width, not a number of layers
        if isinstance(value, int) and re.search("layers|depth|blocks|stage|levels|groups", own):
            yield path, value
        yield from counts(value, path)


def cause_of(error: Exception) -> str:
    """The cause of an error in one line. A part whose module Python does not find is named with the way out."""
    reason = error
    while reason is not None:
        if isinstance(reason, ModuleNotFoundError):
            return f"there is no module {reason.name!r}: put the folder that has it into PYTHONPATH"
        reason = reason.__cause__ or reason.__context__
    cause = str(error).partition("\n")[0]
    return cause if isinstance(error, ValueError) else f"{type(error).__name__}: {cause}"


def build_stored(
    config: Mapping,
    path: str | os.PathLike,
    allow: Collection[str] = (),
    *,
    weights: Mapping[str, Tensor] | None = None,
) -> tuple[nn.Module, T.AugmentationList]:
    """Model and augmentations from the config in the checkpoint at `path`, see `recipe_of_stored`.

    weights: the weights for the model, to refuse a config that would take far more memory.

    Raises ValueError, naming the file, for anything in it that cannot or must not be built.
    """
    allow = [allow] if isinstance(allow, str) else allow
    try:
        recipe = recipe_of_stored(config, allow)
        if weights is not None:
            check_size(recipe, weights)
        model, augmentations = recipe.build()
        if not hasattr(model, "num_classes"):
            raise ValueError(f"model is a {type(model).__name__}, which is not a detector")
        return model, augmentations
    except Exception as error:  # an edited or damaged config can raise anything
        cause = cause_of(error)
        raise ValueError(
            f"the config inside {path} cannot be built: {cause}; give the config yourself, with --config-file or "
            "Predictor.from_config"
        ) from error
