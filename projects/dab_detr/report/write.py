"""Writes the report of a finished training."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from detectron2.config import instantiate
from detectron2.data import DatasetCatalog, MetadataCatalog
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ..checkpoint.writing import atomic_write
from ..visualization.curves import read_metrics
from ..visualization.preview import Style
from .commands import checkpoint_in, commands, training_longer
from .dataset import dataset_section
from .page import page
from .remarks import rising
from .results import CURVES, EVALUATION, classes_section, curves_section, metrics_section, pictures_sections
from .section import Section, number
from .settings import settings_section
from .speed import speed_section

FILE, SIDE = "report.html", 400

logger = logging.getLogger(__name__)


def write_report(
    cfg: DictConfig,
    model: nn.Module,
    *,
    datasets: Mapping[str, str | None],
    metrics: Mapping[str, dict],
    allow: Sequence[str] = (),
) -> Path:
    """Write `report.html` to the output folder. Returns its path.

    cfg: the config of the training. model: the trained model.
    datasets: registered names of train and val; a split that is None has no pictures in the report.
    metrics: the metrics of the last evaluation, by task.
    allow: parts of one's own that the config names, for the commands in the report.
    """
    folder = Path(cfg.train.output_dir)
    names = {split: name for split, name in datasets.items() if name}
    splits = {split: DatasetCatalog.get(name) for split, name in names.items()}
    stops_early = bool(cfg.train.early_stopping.patience)
    longer = training_longer(folder, 2 * cfg.train.max_iter, stops_early=stops_early)
    if remark := still_rising(cfg, folder):
        logger.info("%s This continues the training:\n  %s", remark, longer)
    sections = [
        metrics_section(metrics, remark),
        *evaluation_sections(cfg, splits.get("val", []), names.get("val")),
        curves_section("Curves of the training", folder, CURVES),
        *data_sections(splits, names),
        speed_section(model, splits.get("val", []), instantiate(cfg.dataloader.test.mapper), checkpoint_in(folder)),
        commands(folder, longer, allow),
        settings_section(cfg, folder),
    ]
    text = page(f"Training in {folder}", lead(cfg, folder), [x for x in sections if x])
    with atomic_write(folder / FILE) as file:
        file.write(text.encode("utf-8", "replace"))
    logger.info("The report of this training is %s", folder / FILE)
    return folder / FILE


def lead(cfg: DictConfig, folder: Path) -> str:
    """The best evaluation and its checkpoint in a sentence."""
    metric, points = watched(cfg, folder)
    if not points:
        return f"The training had no evaluation. Its weights are in {checkpoint_in(folder).name}."
    values = [(value, i) for i, value in points]
    value, iteration = max(values) if cfg.train.best.mode == "max" else min(values)
    average = ", of the moving average of the weights" if metric.startswith("ema/") else ""
    return (
        f"The best {title(metric)} is {number(value)} (at iteration {iteration:,}{average}). "
        f"Its weights are in {checkpoint_in(folder).name}."
    )


def still_rising(cfg: DictConfig, folder: Path) -> str | None:
    """A sentence if the AP that chooses the best checkpoint still rose at the end of the training."""
    metric, points = watched(cfg, folder)
    return rising(title(metric), points) if "bbox/AP" in metric and cfg.train.best.mode == "max" else None


def watched(cfg: DictConfig, folder: Path) -> tuple[str, list[tuple[int, float]]]:
    """The metric that chooses the best checkpoint, "" for none, and its values by iteration."""
    metric = cfg.train.best and cfg.train.best.metric or ""
    return metric, read_metrics(folder / "metrics.json").get(metric, [])


def title(metric: str) -> str:
    """The name of a metric for a reader: AP for ema/bbox/AP."""
    return metric.removeprefix("ema/").removeprefix("bbox/")


def data_sections(splits: Mapping[str, list[dict]], names: Mapping[str, str]) -> list[Section]:
    """The section about the data, if the classes have names."""
    if not splits:
        return []
    metadata = MetadataCatalog.get(next(iter(names.values())))
    classes = metadata.get("thing_classes")
    return [dataset_section(splits, classes, Style(metadata, SIDE))] if classes else []


def evaluation_sections(cfg: DictConfig, records: list[dict], name: str | None) -> list[Section | None]:
    """The sections about the last evaluation, from the files of the evaluator that the config names."""
    output = OmegaConf.select(cfg, "dataloader.evaluator.output_dir")
    if output is None or name is None:
        return []
    best = cfg.train.best and cfg.train.best.metric or ""
    folder = Path(f"{output}_ema" if best.startswith("ema/") else output)
    metadata = MetadataCatalog.get(name)
    ids = metadata.get("thing_dataset_id_to_contiguous_id") or {i: i for i in range(len(metadata.thing_classes))}
    threshold = cfg.dataloader.evaluator.get("score_threshold", 0.3)
    return [
        classes_section(folder),
        curves_section("Curves of the evaluation", folder, EVALUATION),
        *pictures_sections(folder, records, labels=ids, score_threshold=threshold, style=Style(metadata, SIDE)),
    ]
