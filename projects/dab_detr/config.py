"""The door for configs of both kinds: `load` gives the same nodes for a LazyConfig and for a yacs yaml."""

import difflib
import os
from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode, LazyConfig
from omegaconf import DictConfig, OmegaConf

from .defaults import dataset_node, settings, train_node
from .overrides import apply_overrides, merge_overrides, split_overrides
from .schema import Schema, expand_home
from .yacs import (
    add_dab_detr_config,
    node_keys,
    paths_of,
    register_datasets,
    teach_detectron2,
    translate,
    yacs_defaults,
)
from .yaml_file import check_yaml, read_yaml

__all__ = ["add_dab_detr_config", "load", "register_datasets", "teach_detectron2", "translate", "yacs_defaults"]


def load(path: str | os.PathLike, overrides: Sequence[str] = ()) -> DictConfig:
    """The config in a file, with overrides: model, dataset, dataloader, optimizer, lr_multiplier and train.

    path: a LazyConfig (.py, or the yaml that training saves), or a yacs yaml of Detectron2.
    overrides: `a.b=value` on the nodes; with a yacs yaml also pairs `A.B value` of its own keys.

    Settings of `train` and `dataset` that the file does not have are those of `defaults`. The node `source` has the
    file and the keys that the overrides set.

    Texts that begin with `~` are paths, and `~` is expanded.

    Raises ValueError for a file that is missing or cannot be read as a config, for wrong overrides, and for values of
    another kind than their settings take.
    """
    path = check_file(path)
    pairs, assignments = split_overrides(overrides)
    touched, names = [], {}
    if is_lazy(path):
        cfg = load_lazy(path)
        cfg.train = OmegaConf.merge(train_node(), cfg.get("train", {}))
        if "dataset" in cfg:
            cfg.dataset = OmegaConf.merge(dataset_node(), cfg.dataset)
        if pairs:
            raise ValueError(f"{path} is a LazyConfig, whose overrides look like train.max_iter=100; got {pairs[0]!r}")
    else:
        own, touched = load_yacs(path, pairs)
        cfg, names = translate(own), node_keys()
        touched += cfg.pop("source").set
    before = OmegaConf.to_container(cfg, resolve=False)
    assigned = apply_overrides(cfg, assignments)
    touched += assigned
    expand_home(cfg)
    names = {key: name for key, name in names.items() if key not in assigned}
    Schema(cfg=cfg, before=before, overridden=touched, names=names, file=path).check()
    cfg.source = settings({"file": path, "set": touched})
    return cfg


def check_file(path: str | os.PathLike) -> str:
    """The path of a config file, `~` expanded. Raises ValueError, with close names, where there is no such file."""
    file = Path(path).expanduser()
    if not file.is_file():
        close = difflib.get_close_matches(file.name, [x.name for x in file.parent.glob("*")], n=3)
        hint = f"; there is {' and '.join(close)}" if file.name and close else ""
        raise ValueError(f"no such .py or .yaml config file: {os.fspath(path)!r}{hint}")
    if file.suffix not in (".py", ".yaml", ".yml"):
        raise ValueError(f"a config file must be .py or .yaml, got {os.fspath(path)!r}")
    return str(file)


def is_lazy(path: str) -> bool:
    """Whether a file is a LazyConfig, which training saves as yaml too. Raises ValueError for yaml that is not data."""
    return path.endswith(".py") or not {"model", "dataloader", "train"}.isdisjoint(read_yaml(path))


def load_lazy(path: str) -> DictConfig:
    """A LazyConfig. A .py file is code and runs; a yaml is plain data."""
    if not path.endswith(".py"):
        return settings(read_yaml(path))
    try:
        return LazyConfig.load(path)
    except Exception as error:  # a config that is code fails in any way
        raise ValueError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error


def load_yacs(path: str, pairs: Sequence[str]) -> tuple[CfgNode, list[str]]:
    """A yacs config with overrides `A.B value`, and the keys of the nodes that these set."""
    check_yaml(path)
    cfg = yacs_defaults()
    try:
        cfg.merge_from_file(path)
    except (KeyError, AssertionError, ValueError) as error:
        text = " ".join(str(error).split())
        raise ValueError(f"{path} is not a yacs config of Detectron2: {text}") from error
    keys = merge_overrides(cfg, pairs)
    return cfg, [path for key in keys for path in paths_of(key)]
