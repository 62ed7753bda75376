"""Weights that a training starts from partially: those of a trained backbone, of the query head, or of both."""

from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from torch import Tensor

from dab_detr.checkpoint.integrity import checksum
from dab_detr.checkpoint.reading import read
from dab_detr.checkpoint.writing import atomic_write
from dab_detr.modeling.boxes import inverse_sigmoid

TINY, HUGE = 0.02, 0.98  # sides, as shares of the image


def anchors_of_size(side: float) -> Callable[[DictConfig, np.random.Generator], np.ndarray]:
    """Evenly spread anchors (N, 4), normalized cxcywh, that all have this side."""

    def start(cfg: DictConfig, random: np.random.Generator) -> np.ndarray:
        centers = random.random((cfg.model.queries.num_queries, 2))
        return np.concatenate([centers, np.full_like(centers, side)], 1)

    return start


STARTS = {"tiny": anchors_of_size(TINY), "huge": anchors_of_size(HUGE)}


def write_start(
    start: str,
    path: Path,
    cfg: DictConfig,
    *,
    seed: int,
    trained: Path | None = None,
    backbone: Path | None = None,
) -> None:
    """Write the weights of a start.

    start: a name in `STARTS`, unless `trained` is given.
    trained: a checkpoint whose queries the start has.
    backbone: a file whose weights the start has too.

    Raises ValueError if `trained` does not exist.
    """
    if trained and not trained.is_file():
        row = trained.parents[1].name
        raise ValueError(f"there is no {trained}: run the row {row} first, with --again if only its result is there")
    state = part("queries", trained) if trained else as_weights(STARTS[start], cfg, seed)
    write_weights(path, (part("backbone", backbone) if backbone else {}) | state)


def as_weights(start: Callable, cfg: DictConfig, seed: int) -> dict[str, Tensor]:
    """The weights of AnchorBoxQueries whose anchors are a start's."""
    anchors = torch.as_tensor(start(cfg, np.random.default_rng(seed)), dtype=torch.float32)
    logits = inverse_sigmoid(anchors, eps=1e-3)
    return {"queries.centre": logits[:, :2].clone(), "queries.size": logits[:, 2:].clone()}


def part(name: str, checkpoint: Path) -> dict[str, Tensor]:
    """The weights of one part of the detector in a checkpoint."""
    return {key: tensor for key, tensor in read(checkpoint)["model"].items() if key.startswith(f"{name}.")}


def fingerprint(path: Path) -> str:
    """The first 12 digits of a checksum of the weights in a file, however torch wrote them."""
    return checksum(read(path)["model"])[:12]


def write_weights(path: Path, state: Mapping[str, Tensor]) -> None:
    """Write a file that a training can start from, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        torch.save({"model": dict(state)}, file)
