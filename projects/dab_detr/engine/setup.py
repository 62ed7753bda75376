"""Check and complete a config against the data and the machine, before a model is built."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from detectron2.config import LazyConfig, instantiate
from detectron2.data import MetadataCatalog
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from omegaconf import DictConfig

from ..data.coco import dataset_name
from ..doctor.brief import check_datasets
from .auto import use_overfit, use_recipe
from .changes import check_changes
from .description import classes_of
from .device import available_device
from .folder import use_folder
from .loop import check_batch_size
from .schedule import check_iterations, count_in_epochs
from .screen import direct_messages
from .trackers import check_trackers

COCO_CLASSES = 80  # of the published models
COCO_VAL = "coco_2017_val"  # what they are evaluated on

logger = logging.getLogger(__name__)


def configure(cfg: DictConfig, args: argparse.Namespace) -> DictConfig:
    """Complete a loaded config in place: device, classes, iterations. It is saved to the output folder for training.

    Raises ValueError for what the user has to set right.
    """
    touched = cfg.source.set
    set_up(cfg, args)
    cfg.train.device = available_device(cfg.train.device)
    if not args.eval_only:
        check_trackers(cfg.train.writers)
    if "dataset" in cfg:
        use_folder(cfg, args, touched)
        set_num_classes(cfg, touched, trains=not args.eval_only)
        fit_to_data(cfg, touched, trains=not args.eval_only)
    if not args.eval_only:
        check_batch_size(cfg.dataloader.train.total_batch_size, cfg.train.accumulate)
        count_in_epochs(cfg, touched)
        check_iterations(cfg, touched)
        warn_of_frozen_random_weights(cfg)
        if args.resume:
            check_changes(cfg)
        if comm.is_main_process():
            LazyConfig.save(cfg, f"{cfg.train.output_dir}/config.yaml")
    return cfg


def warn_of_frozen_random_weights(cfg: DictConfig) -> None:
    """Warn of a backbone that starts from random weights and cannot learn all of them."""
    backbone = cfg.model.backbone
    if cfg.train.init_checkpoint or backbone.get("pretrained"):
        return
    found = ["model.backbone.norm=BN"] if backbone.get("norm") == "FrozenBN" else []
    found += ["model.backbone.freeze_at=0"] if (backbone.get("freeze_at") or 0) > 0 else []
    found += ["model.backbone.frozen=False"] if backbone.get("frozen") else []
    if found:
        logger.warning(
            "Training starts from random weights, and a part of the backbone is frozen: it cannot learn. Set %s.",
            " ".join(found),
        )


def fit_to_data(cfg: DictConfig, touched: Sequence[str], *, trains: bool) -> None:
    """Apply `train.recipe` and `train.overfit` to data that has been checked."""
    if not cfg.train.recipe and not cfg.train.overfit:
        return
    train, val = (registered(cfg.dataset[split]) for split in ("train", "val"))
    if train is None:
        raise ValueError("train.recipe and train.overfit need training data: give dataset.root or dataset.train")
    use_recipe(cfg, train, val, touched, trains=trains)
    use_overfit(cfg, train, touched)


def set_up(cfg: DictConfig, args: argparse.Namespace) -> None:
    """Detectron2's `default_setup` (folder, log, seeds), which tells what it does to the log and not to the screen.

    The `config.yaml` of an earlier training stays: the config of this one is not checked yet.
    """
    output_dir = cfg.train.output_dir
    path = Path(output_dir, "config.yaml")
    earlier = path.read_bytes() if path.is_file() else None
    direct_messages(output_dir, rank=comm.get_rank(), tables=args.eval_only)
    default_setup(cfg, args)
    if earlier is not None and comm.is_main_process():
        path.write_bytes(earlier)


def registered(split: DictConfig) -> str | None:
    """The name in Detectron2's catalogs of `dataset.train` or `dataset.val`; None if the split names no dataset.

    If the split has files, its name is ignored. The name may also be a node that registers a dataset and returns its
    name.
    """
    default = None if split.annotations else instantiate(split.name)
    if default is None and not split.annotations and not split.images:
        return None
    return dataset_name(annotations=split.annotations, images=split.images, default=default)


def class_names(cfg: DictConfig, split: str) -> list[str] | None:
    """Names of the classes of `dataset.train` or `dataset.val`, if they are known."""
    return classes_of(registered(cfg.dataset[split]))[0] if "dataset" in cfg else None


def set_num_classes(cfg: DictConfig, touched: Sequence[str], *, trains: bool) -> None:
    """Set `model.num_classes` to that of the data. Without `dataset.val` the config loses its evaluator.

    Raises ValueError for data that is missing or cannot be used.
    """
    check_val(cfg, touched)
    val = registered(cfg.dataset.val)
    train = registered(cfg.dataset.train) if trains else val
    if train is None:
        split = "train" if trains else "val"
        raise ValueError(
            f"there is no dataset: give dataset.root, or dataset.{split}.annotations and dataset.{split}.images"
        )
    if val is None:
        logger.warning("There is no dataset.val: this training is never evaluated, and has no model_best.pth.")
        cfg.dataloader.pop("evaluator", None)
    recipe_decides = cfg.train.recipe and "model.queries.num_queries" not in touched
    cfg.model.num_classes = num_classes_for(
        train,
        [val] if val else [],
        configured=cfg.model.num_classes,
        is_set="model.num_classes" in touched,
        key="model.num_classes",
        queries=None if recipe_decides else cfg.model.get("queries"),  # it gives as many as the data needs
    )


def check_val(cfg: DictConfig, touched: Sequence[str]) -> None:
    """Raise ValueError for a training on the user's own files with COCO still set for evaluation."""
    train, val = cfg.dataset.train, cfg.dataset.val
    if train.annotations and not val.annotations and val.name == COCO_VAL and "dataset.val.name" not in touched:
        raise ValueError(
            "dataset.val is not given: give dataset.val.annotations and dataset.val.images (in a yaml config "
            "DATASETS.TEST_ANNOTATIONS and TEST_IMAGES), which tools/convert_dataset.py can split from the training "
            "data, or train without evaluation by dataset.val.name=null"
        )


def num_classes_for(
    train: str, val: Sequence[str], *, configured: int, is_set: bool, key: str, queries: DictConfig | None = None
) -> int:
    """The number of classes of registered datasets, checked before time is spent.

    configured: the number under `key` in the config. It must agree with the data if the user has set it, which is so if
        `is_set`, or if it differs from the number of COCO's classes.
    queries: the node `model.queries`.

    Raises ValueError if the number does not agree, and for data that cannot be used.
    """
    for name in (train, *val):
        check_annotations_exist(name)
    is_set = is_set or configured != COCO_CLASSES
    num_queries = (
        queries and queries.get("num_queries") and queries.num_queries * max(1, queries.get("num_patterns", 0))
    )
    num_classes = check_datasets(train, val, configured if is_set else None, key=key, num_queries=num_queries)
    if num_classes != configured:
        logger.info("The data has %d classes: %s is set to that.", num_classes, key)
    return num_classes


def check_annotations_exist(name: str) -> None:
    """Raise ValueError for a dataset that Detectron2 knows but that is not on this machine."""
    json_file = MetadataCatalog.get(name).get("json_file")
    if json_file and not PathManager.exists(json_file):
        raise ValueError(
            f"dataset {name!r} is not here: {json_file} does not exist. Set the environment variable "
            "DETECTRON2_DATASETS to the folder that has it, or give a folder of your own with pictures and labels "
            "(dataset.root), or your annotation file and image folder (dataset.train.annotations, "
            "dataset.train.images and likewise for val; in a yaml config DATASETS.TRAIN_ANNOTATIONS, TRAIN_IMAGES, "
            "TEST_ANNOTATIONS and TEST_IMAGES)"
        )
