"""Turns a folder of pictures with labels, `dataset.root`, into the two splits that a training reads."""

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from detectron2.config import LazyConfig
from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf

from ..conversion import dataset_from_folder
from ..conversion.damage import DamagedDataset

FOLDER = "dataset"  # the folder of the annotation files, in the output folder
EVALUATED = "dataset_evaluation"  # the same for an evaluation, which must not replace those of a training

T = TypeVar("T")

logger = logging.getLogger(__name__)


def use_folder(cfg: DictConfig, args: argparse.Namespace, touched: Sequence[str]) -> None:
    """Convert the dataset in `dataset.root` and point `dataset.train` and `dataset.val` to the files.

    The annotation files go to `output_dir/dataset`; the pictures stay in place. Afterwards `dataset.root` is None,
    because the config names the files. A resumed training keeps its files, so that no picture moves from one split to
    the other.

    touched: the keys that overrides have set.

    Raises ValueError for a folder that is not a dataset, and if the config also names the files of a split.
    """
    root = OmegaConf.select(cfg, "dataset.root")
    if root is None:
        return
    check_alone(cfg.dataset, touched)
    check_apart(Path(root), Path(cfg.train.output_dir))
    splits = args.resume and splits_of_earlier(cfg.train.output_dir)
    if splits:
        tell_kept(splits, root, Path(cfg.train.output_dir, FOLDER))
    else:
        splits = from_main(lambda: converted(cfg, EVALUATED if args.eval_only else FOLDER))
    for split in ("train", "val"):
        files = splits.get(split, {"annotations": None, "images": None})
        cfg.dataset[split].update(name=None, **files)
    cfg.dataset.root = None


def check_alone(dataset: DictConfig, touched: Sequence[str]) -> None:
    """Raise ValueError if the config names a split in addition to the folder with both."""
    given = [key for key in touched if key.startswith(("dataset.train", "dataset.val."))]
    given += [f"dataset.{split}.annotations" for split in ("train", "val") if dataset[split].annotations]
    if given:
        raise ValueError(f"dataset.root is a folder with both splits: remove either it or {given[0]}")


def check_apart(root: Path, output_dir: Path) -> None:
    """Raise ValueError if the training would write its annotation files into the dataset."""
    for name in (FOLDER, EVALUATED):
        folder = output_dir.joinpath(name).resolve()
        if folder in (root.resolve(), *root.resolve().parents):
            raise ValueError(
                f"dataset.root is {root}, where a training in {output_dir} writes its annotation files: give another "
                "train.output_dir"
            )


def tell_kept(splits: Mapping[str, Mapping[str, str]], root: str, folder: Path) -> None:
    """Log that a resumed training keeps its splits, as a warning if their pictures are not in `dataset.root`."""
    images = sorted({split["images"] for split in splits.values()})
    inside = all(Path(root).resolve() in (x := Path(name).resolve(), *x.parents) for name in images)
    text = (
        f"dataset.root: this resumed training keeps the splits in {folder}, with the pictures in {', '.join(images)}."
    )
    if inside:
        logger.info("%s", text)
    else:
        logger.warning("%s It does not read %s: a training on that needs another train.output_dir.", text, root)


def converted(cfg: DictConfig, folder: str) -> dict[str, dict[str, str]]:
    """Convert the dataset into a folder in the output folder.

    Returns the annotation file and the image folder of each split.
    """
    settings = cfg.dataset
    try:
        outputs = dataset_from_folder(
            settings.root,
            Path(cfg.train.output_dir, folder),
            val_fraction=settings.val_fraction,
            seed=settings.split_seed,
            tell=lambda line: logger.info("%s", line),
        )
    except DamagedDataset as error:
        raise ValueError(
            f"{error}; tools/convert_dataset.py names every damaged file, and can leave them out with --skip-damaged"
        ) from error
    return {
        name: {"annotations": str(output.annotations), "images": str(output.images)} for name, output in outputs.items()
    }


def splits_of_earlier(output_dir: str) -> dict[str, dict[str, str]] | None:
    """The splits that an earlier training in this folder made from a dataset; None if there are none."""
    path, folder = Path(output_dir, "config.yaml"), Path(output_dir, FOLDER).absolute()
    if not path.is_file():
        return None
    dataset = LazyConfig.load(str(path)).get("dataset") or {}
    files = {x: {key: dataset[x][key] for key in ("annotations", "images")} for x in ("train", "val") if x in dataset}
    files = {x: named for x, named in files.items() if named["annotations"]}
    own = files and all(Path(x["annotations"]).parent == folder for x in files.values())
    return files if own else None


def from_main(work: Callable[[], T]) -> T:
    """Run `work` in the main process and return its result everywhere. A ValueError is raised in every process."""
    result = error = None
    if comm.is_main_process():
        try:
            result = work()
        except (ValueError, OSError) as caught:
            error = str(caught)
    result, error = comm.all_gather((result, error))[0]
    if error is not None:
        raise ValueError(error)
    return result
