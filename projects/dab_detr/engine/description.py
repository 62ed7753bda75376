"""The description that a training stores in its checkpoints."""

import logging
from collections.abc import Callable
from dataclasses import replace

from detectron2.data import MetadataCatalog
from detectron2.engine import HookBase
from detectron2.utils.registry import _convert_target_to_string as name_of_target
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ..checkpoint.allow_list import refused_targets, way_to_allow
from ..checkpoint.checkpointer import DABDETRCheckpointer
from ..checkpoint.description import Description, check_plain

logger = logging.getLogger(__name__)


class DescribeResults(HookBase):
    """Add the results of the last evaluation to the last checkpoint, which is written before that evaluation.

    The hook must come after the one that evaluates, in the main process.
    """

    def __init__(self, checkpointer: DABDETRCheckpointer, name: str = "model_final"):
        self.checkpointer, self.name = checkpointer, name

    def after_train(self) -> None:
        if self.trainer.iter >= self.trainer.max_iter:
            self.checkpointer.describe(self.name)


def describer(
    model: nn.Module, *, config: Callable[[], dict], dataset: str | None, results: Callable[[], dict]
) -> Callable[[], dict]:
    """Return a function that describes a model in training, for a checkpoint about to be saved.

    config: returns the current config as plain data. If it cannot, the config is left out with a warning.
    dataset: registered name of the training data, or None. results: returns the results of the last evaluation.
    """
    try:
        plain = config()
        check_plain(plain, "config")
    except ValueError as error:
        logger.warning("Checkpoints will not carry their config, and need it to predict: %s.", error)
        plain = None
    if refused := refused_targets(plain or {}):
        logger.warning(
            "This config has parts of your own. To predict with its checkpoints, allow them by name: %s",
            way_to_allow(refused),
        )
    names, ids = classes_of(dataset)
    about = Description(
        class_names=names,
        category_ids=ids,
        config=plain,
        pixel_mean=model.pixel_mean.flatten().tolist(),
        pixel_std=model.pixel_std.flatten().tolist(),
        input_format=model.input_format,
    )
    return lambda: replace(about, metrics=results()).to_dict()


def own_parts(cfg: DictConfig) -> list[str]:
    """The names of parts in a config that a prediction refuses unless they are allowed."""
    try:
        return refused_targets(plain_lazy(cfg))
    except ValueError:  # checkpoints of such a config do not carry it
        return []


def classes_of(dataset: str | None) -> tuple[list[str] | None, list[int] | None]:
    """Class names and category ids of a registered dataset, in the order of the classes. None if it has none."""
    metadata = MetadataCatalog.get(dataset) if dataset else None
    names = metadata and metadata.get("thing_classes")
    ids = metadata and metadata.get("thing_dataset_id_to_contiguous_id")
    return names and list(names), ids and sorted(ids, key=ids.get)


def plain_lazy(cfg: DictConfig) -> dict:
    """A LazyConfig without interpolations, its targets named as `LazyConfig.save` names them."""
    return named(OmegaConf.to_container(cfg, resolve=True))


def named(value: object) -> object:
    """The same with targets that are classes or functions replaced by their names."""
    if isinstance(value, dict):
        return {k: name_of_target(v) if k == "_target_" and callable(v) else named(v) for k, v in value.items()}
    return [named(x) for x in value] if isinstance(value, list) else value
