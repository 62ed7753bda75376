"""What happens before a model is built, whatever the kind of config."""

import argparse
import logging
from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import setup_logger
from omegaconf import DictConfig

from ..doctor.brief import check_datasets

COCO_CLASSES = 80  # of the published models

logger = logging.getLogger(__name__)


def set_up(cfg: CfgNode | DictConfig, args: argparse.Namespace, output_dir: str) -> None:
    """Detectron2's `default_setup` (folder, logs, seeds), with our messages in its logs.

    The `config.yaml` of an earlier training stays: what this one has is not checked yet.
    """
    path = Path(output_dir, "config.yaml")
    earlier = path.read_bytes() if path.is_file() else None
    default_setup(cfg, args)
    setup_logger(output_dir, distributed_rank=comm.get_rank(), name="dab_detr")
    if earlier is not None and comm.is_main_process():
        path.write_bytes(earlier)


def num_classes_for(
    train: str, val: Sequence[str], *, configured: int, is_set: bool, key: str, queries: DictConfig | None = None
) -> int:
    """The number of classes of registered datasets, checked before time is spent.

    `configured` is what the config says under `key`. It has to agree with the data where the user has set it, which
    is so if `is_set` or if it is not the number that the published models have. `queries` is that node of the model.

    Raises ValueError where it does not agree, and for data that cannot be used.
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
    """Raises ValueError for a dataset that Detectron2 knows, but that is not on this machine."""
    json_file = MetadataCatalog.get(name).get("json_file")
    if json_file and not PathManager.exists(json_file):
        raise ValueError(
            f"dataset {name!r} is not here: {json_file} does not exist. Set the environment variable "
            "DETECTRON2_DATASETS to the folder that has it, or give your own annotation file and image folder "
            "(dataset.train.annotations, dataset.train.images and likewise for val; in a yaml config "
            "DATASETS.TRAIN_ANNOTATIONS, TRAIN_IMAGES, TEST_ANNOTATIONS and TEST_IMAGES)"
        )
