"""The section of a report about the config and the versions."""

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import torch
from omegaconf import DictConfig, OmegaConf

from ..version import __version__
from .section import Section, Table

KEYS = {
    "training data": "dataset.train.annotations",
    "validation data": "dataset.val.annotations",
    "starting weights": "train.init_checkpoint",
    "iterations": "train.max_iter",
    "pictures in a batch": "dataloader.train.total_batch_size",
    "micro-batches": "train.accumulate",
    "learning rate": "optimizer.lr",
    "learning rate factors": "optimizer.params.lr_factors",
    "queries": "model.queries.num_queries",
    "moving average": "train.ema.enabled",
    "seed": "train.seed",
    "device": "train.device",
}
GONE = {"train.recipe": "the recipe (train.recipe)", "dataset.root": "a folder (dataset.root)"}
"""Overrides that become null, because the config has the settings that they chose."""

PACKAGES = ("torch", "torchvision", "detectron2", "numpy", "pycocotools")


def settings_section(cfg: DictConfig, folder: Path) -> Section:
    """The most important settings, the settings of the overrides, the versions, and the whole config, folded."""
    source = cfg.get("source") or {}
    values = {name: OmegaConf.select(cfg, key) for name, key in KEYS.items()}
    rows = [("config", str(source.get("file", ""))), *((name, str(x)) for name, x in values.items() if x is not None)]
    others = {key: OmegaConf.select(cfg, key) for key in source.get("set", []) if key not in KEYS.values()}
    rows += [(key, text(value)) for key, value in others.items() if value is not None]
    versions = [("dab_detr", __version__), ("Python", platform.python_version())]
    versions += [(name, installed(name)) for name in PACKAGES]
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.processor() or platform.machine()
    versions.append(("machine", device))
    used = [name for key, name in GONE.items() if key in source.get("set", [])]
    note = f"Given: {' and '.join(used)}. The config has null there, and the values that follow; log.txt lists them."
    saved = folder / "config.yaml"
    folded = ("The whole config", saved.read_text(encoding="utf-8")) if saved.is_file() else None
    return Section(
        title="Settings and versions",
        note=note if used else "",
        tables=[Table(rows=rows), Table(rows=versions)],
        folded=folded,
    )


def text(value: object) -> str:
    """A value of a config on one line."""
    return str(OmegaConf.to_container(value) if OmegaConf.is_config(value) else value)


def installed(package: str) -> str:
    """The version of a package, if it is known."""
    try:
        return version(package)
    except PackageNotFoundError:
        return getattr(__import__(package), "__version__", "unknown")
