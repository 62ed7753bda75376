"""Measures where queries look during a training: entropy and centers of their positional attention by checkpoint.

Section 3 of the paper argues that DETR's queries attend to several places at once, and anchors to one.
"""

import math
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from detectron2.data import DatasetCatalog
from omegaconf import DictConfig
from scipy.ndimage import label, maximum_filter

from dab_detr.engine.setup import registered
from dab_detr.explanation import explain
from dab_detr.inference import Predictor

PICTURES, QUERIES = 20, 5  # of the validation set, and of each picture, those with the highest scores
CENTER = 0.5  # lowest share of the largest value at which a local maximum counts


def entropy(maps: np.ndarray) -> float:
    """Entropy of attention (heads, H, W), averaged over the heads, as a share of that of even attention."""
    shares = maps.reshape(len(maps), -1)
    logs = np.log(np.where(shares > 0, shares, 1))
    return float(-(shares * logs).sum(1).mean() / math.log(shares.shape[1]))


def centers(attention: np.ndarray) -> int:
    """The number of local maxima of attention (H, W) that reach half of the largest. A plateau counts once."""
    peaks = (attention == maximum_filter(attention, 3, mode="nearest")) & (attention >= CENTER * attention.max())
    return label(peaks, structure=np.ones((3, 3)))[1]


def checkpoints(folder: Path, steps: Iterable[int]) -> dict[int, Path]:
    """The checkpoints after these numbers of steps. A training that was stopped has others too."""
    paths = {step: folder / f"model_{step - 1:07d}.pth" for step in steps}
    return {step: path for step, path in paths.items() if path.is_file()}


def first_of_queries(rows: list[int]) -> list[int]:
    """The first detection of each of the best queries, by the rows of all detections. A query may have several."""
    return [rows.index(row) for row in list(dict.fromkeys(rows))[:QUERIES]]


def measure(path: Path, pictures: list[str]) -> tuple[float, float]:
    """Mean entropy and mean number of centers of a checkpoint's last layer, over pictures and queries."""
    predictor, values = Predictor.from_checkpoint(path, device="cpu"), []
    for picture in pictures:
        explanation = explain(predictor, picture, threshold=0.0, max_objects=predictor.model.queries.num_queries)
        for detection in first_of_queries(explanation.rows.tolist()):
            maps = explanation.attention(detection, -1, "position")
            values.append((entropy(maps), centers(maps.mean(0))))
    return tuple(np.mean(values, 0).round(4).tolist())


def over_training(folder: Path, cfg: DictConfig, steps: Iterable[int]) -> list[list[float]]:
    """[[step, entropy, centers], ...] of a training after these steps, on the first pictures of its validation set."""
    records = DatasetCatalog.get(registered(cfg.dataset.val))[:PICTURES]
    pictures = [x["file_name"] for x in records]
    return [[step, *measure(path, pictures)] for step, path in checkpoints(folder, steps).items()]
