"""A checkpoint that describes itself, as train_net.py writes it, without the training."""

from pathlib import Path

import torch
import yaml
from detectron2.config import CfgNode, instantiate
from detectron2.modeling import build_model

from dab_detr.checkpoint.checkpointer import DABDETRCheckpointer
from dab_detr.checkpoint.description import KEY
from dab_detr.config import load, load_yacs, register_datasets
from dab_detr.engine.description import describer, plain_lazy
from dab_detr.engine.setup import registered
from tiny import LAZY, YAML, lazy_opts, tell_apart, yaml_opts

OWN_PRIOR = "own_parts.CenterPrior"
NAMES = ["class 0", "class 1", "class 2"]  # of the data that tiny.py writes


def lazy_config(folder: Path):
    return load(str(LAZY), [*lazy_opts(folder), "model.num_classes=3"])


def yacs_config(folder: Path):
    """A yacs config as scripts with Detectron2's own classes have it, and older versions stored it."""
    cfg, _ = load_yacs(str(YAML), [*yaml_opts(folder), "MODEL.DAB_DETR.NUM_CLASSES", "3"])
    register_datasets(cfg)
    return cfg


def plain_yacs(cfg: CfgNode) -> dict:
    return yaml.safe_load(cfg.dump())


def save_lazy(folder: Path) -> Path:
    """Its path; the model has a class for each in the data that is written to `folder` too."""
    cfg = lazy_config(folder)
    dataset = registered(cfg.dataset.train)
    return save(instantiate(cfg.model), folder, config=lambda: plain_lazy(cfg), dataset=dataset)


def save_yacs(folder: Path) -> Path:
    """The same by a yacs config."""
    cfg = yacs_config(folder)
    return save(build_model(cfg), folder, config=lambda: plain_yacs(cfg), dataset=cfg.DATASETS.TRAIN[0])


def save_own_prior(folder: Path) -> Path:
    """The same with a prior of the user's own, which the allow-list does not name."""
    cfg = lazy_config(folder)
    cfg.model.decoder.prior = {"_target_": OWN_PRIOR, "dim": "${...neck.dim}"}
    return save(instantiate(cfg.model), folder, config=lambda: plain_lazy(cfg), dataset=None)


def save(model, folder: Path, **about) -> Path:
    results = {"bbox": {"AP": 12.5}}
    with torch.no_grad():
        tell_apart(model)
    DABDETRCheckpointer(model, str(folder), description=describer(model, results=lambda: results, **about)).save(
        "model"
    )
    return folder / "model.pth"


def change(path: Path, spoil) -> Path:
    """The checkpoint with `spoil` applied to its description."""
    checkpoint = torch.load(path)
    spoil(checkpoint[KEY])
    torch.save(checkpoint, path)
    return path
