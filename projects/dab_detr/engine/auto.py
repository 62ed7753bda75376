"""`train.recipe=auto` and `train.overfit=8`: rules that set what the user has not set."""

import json
import logging
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from detectron2.data import MetadataCatalog
from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf

from ..checkpoint.writing import atomic_write
from ..data.coco import dataset_dicts
from ..data.summary import summarize
from ..visualization.preview import spread
from ..zoo.table import MODELS, PREFIX
from .folder import FOLDER, from_main
from .recipe import Rule, Situation, Weights, overfit_rules, recipe

BATCH = "dataloader.train.total_batch_size"
BACKBONES = ("detectron2://ImageNetPretrained", "torchvision://")

logger = logging.getLogger(__name__)


def use_recipe(cfg: DictConfig, train: str, val: str | None, touched: Sequence[str], *, trains: bool = True) -> None:
    """Apply the rules of `recipe` to the keys that no override has set.

    Afterwards `train.recipe` is None, because the config has all values.

    train, val: registered names of the datasets. touched: the keys that overrides have set.
    trains: whether this is a training. If not, the settings of `train`, such as the moving average, and of the model,
        which must fit the weights, stay unchanged.
    """
    if cfg.train.recipe is None:
        return
    cfg.train.recipe = None
    rules = recipe(situation(cfg, train, val, touched))
    logger.info("train.recipe=auto chooses these settings, unless you set them (docs/own_data.md has the rules):")
    apply(cfg, [x for x in rules if trains or not x.key.startswith(("train.", "model."))], touched)


def situation(cfg: DictConfig, train: str, val: str | None, touched: Sequence[str]) -> Situation:
    """The situation for the rules, from a config, its data and this machine."""
    cuda = torch.device(cfg.train.device).type == "cuda"
    memory = torch.cuda.get_device_properties(cfg.train.device).total_memory / 2**30 if cuda else None
    batch = cfg.dataloader.train.total_batch_size
    return Situation(
        data=summarize(dataset_dicts(name=train), MetadataCatalog.get(train).thing_classes),
        evaluated=val is not None,
        weights="backbone" if brings_weights(cfg) else kind_of(cfg.train.init_checkpoint),
        released=released_weights(cfg, touched),
        learning_rate=cfg.optimizer.lr,
        base_batch=16 if BATCH in touched else batch,
        queries=OmegaConf.select(cfg, "model.queries.num_queries", default=300),
        queries_are_set="model.queries.num_queries" in touched,
        max_detections=OmegaConf.select(cfg, "dataloader.evaluator.max_detections", default=100),
        batch=batch if BATCH in touched else None,
        iterations=cfg.train.max_iter if "train.max_iter" in touched else None,
        epochs=cfg.train.epochs,
        averages="train.ema.enabled" not in touched or cfg.train.ema.enabled,
        fine=OmegaConf.select(cfg, "model.neck.feature") == "res3",
        memory=memory,
        processes=comm.get_world_size(),
    )


def kind_of(checkpoint: str | None) -> Weights:
    """The kind of the weights in `train.init_checkpoint`, by their address."""
    if not checkpoint:
        return "none"
    return "backbone" if checkpoint.startswith(BACKBONES) else "detector"


def brings_weights(cfg: DictConfig) -> bool:
    """Whether the backbone loads weights by itself, as timm's do, and train.init_checkpoint loads none."""
    keys = ("model.backbone.pretrained", "model.backbone.base.pretrained")
    return not cfg.train.init_checkpoint and any(OmegaConf.select(cfg, key) for key in keys)


def released_weights(cfg: DictConfig, touched: Iterable[str]) -> str | None:
    """The address of this config's released weights, if the user has chosen neither the weights nor the model."""
    if (
        any(key.startswith(("train.init_", "model.")) for key in touched)
        or kind_of(cfg.train.init_checkpoint) != "backbone"
    ):
        return None
    name = Path(cfg.source.file).stem
    return next((f"{PREFIX}{name}" for x in MODELS if x.name == name and x.url and not x.overrides), None)


def apply(cfg: DictConfig, rules: Iterable[Rule], touched: Sequence[str]) -> None:
    """Set and log the values of rules, except for keys that overrides have set and keys that the config lacks.

    A value that the config has already is not worth a line.
    """
    for rule in rules:
        if has(cfg, rule.key) and OmegaConf.select(cfg, rule.key) == rule.value:
            continue
        if any(same_branch(rule.key, key) for key in touched):
            logger.info("  %s: left as you set it", rule.key)
        elif not has(cfg, rule.key):
            logger.info("  %s: skipped, because the config has no such key", rule.key)
        else:
            OmegaConf.update(cfg, rule.key, rule.value, merge=False, force_add=True)
            logger.info("  %s", rule)


def has(cfg: DictConfig, key: str) -> bool:
    """Whether a config has a key. The path to it may contain list indices."""
    node, _, last = key.rpartition(".")
    parent = OmegaConf.select(cfg, node) if node else cfg
    return OmegaConf.is_dict(parent) and last in parent


def same_branch(key: str, other: str) -> bool:
    """Whether two keys are the same, or one lies below the other."""
    return f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")


def use_overfit(cfg: DictConfig, train: str, touched: Sequence[str]) -> None:
    """Make the config train and evaluate on the same few pictures, by `overfit_rules`. `train.overfit` becomes 0.

    If model and data fit each other, AP rises toward 100. If they do not, more pictures will not help.

    train: registered name of the dataset.

    Raises ValueError for a number below 1 and for a dataset without objects or without an annotation file.
    """
    number = cfg.train.overfit
    if not number:
        return
    if number < 1:
        raise ValueError(f"train.overfit must be a number of pictures, 1 or more, got {number}")
    cfg.train.overfit = 0
    metadata = MetadataCatalog.get(train)
    if not metadata.get("json_file"):
        raise ValueError(
            f"train.overfit needs an annotation file, and the dataset {train} has none: set dataset.train.annotations"
        )
    path = Path(cfg.train.output_dir, FOLDER, "overfit.json").absolute()
    chosen = from_main(lambda: write_few(Path(metadata.json_file), dataset_dicts(name=train), number, path))
    for split in ("train", "val"):
        cfg.dataset[split].update(name=None, annotations=str(path), images=metadata.image_root)
    given = cfg.dataloader.train.total_batch_size if BATCH in touched else None
    logger.info(
        "train.overfit=%d trains and evaluates on the same %d pictures; AP should rise toward 100:", number, chosen
    )
    apply(cfg, overfit_rules(chosen, given, cfg.dataloader.test.mapper.augmentations), touched)


def write_few(source: Path, records: Sequence[dict], number: int, path: Path) -> int:
    """Write the annotations of at most `number` images with objects to `path`. Returns the number of images."""
    full = [x for x in records if any(not y.get("iscrowd") for y in x["annotations"])]
    if not full:
        raise ValueError(f"train.overfit: no image in {source} has objects")
    ids = {x["image_id"] for x in spread(full, number)}
    content = json.loads(source.read_bytes())
    content["images"] = [x for x in content["images"] if x["id"] in ids]
    content["annotations"] = [x for x in content["annotations"] if x["image_id"] in ids]
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(json.dumps(content).encode())
    return len(ids)
