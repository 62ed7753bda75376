"""Boxes that are typical of a dataset, for anchors to start from."""

import warnings
from collections.abc import Iterable

import numpy as np
from detectron2.structures import BoxMode
from scipy.cluster.vq import kmeans2

MOST = 30_000  # boxes that k-means looks at; for 300 clusters it takes seconds


def normalized_boxes(records: Iterable[dict]) -> np.ndarray:
    """The boxes (N, 4) of Detectron2's dataset dicts, normalized cxcywh, without crowd regions."""
    boxes = []
    for record in records:
        width, height = record["width"], record["height"]
        for x in record.get("annotations", []):
            if not x.get("iscrowd"):
                left, top, w, h = BoxMode.convert(x["bbox"], x["bbox_mode"], BoxMode.XYWH_ABS)
                boxes.append([(left + w / 2) / width, (top + h / 2) / height, w / width, h / height])
    return np.array(boxes, dtype=float).reshape(-1, 4)


def typical_boxes(boxes: np.ndarray, number: int, random: np.random.Generator) -> np.ndarray:
    """The k-means (number, 4) of boxes (N, 4); all distinct boxes if these are not more than `number`.

    If there are more than `MOST` boxes, it uses a random sample of `MOST`.
    """
    distinct = np.unique(boxes, axis=0)
    if len(distinct) <= number:
        return distinct
    if len(boxes) > MOST:
        boxes = random.choice(boxes, MOST, replace=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a cluster that lost its boxes keeps its center, which is fine
        return kmeans2(boxes, number, minit="++", seed=random)[0]
