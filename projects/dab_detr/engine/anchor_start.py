"""`model.queries.from_boxes`: anchors that start from the boxes of the training data."""

import logging

import numpy as np
import torch
from detectron2.data import DatasetCatalog
from torch import nn

from ..data.typical import normalized_boxes, typical_boxes
from .folder import from_main

logger = logging.getLogger(__name__)


def start_anchors(model: nn.Module, dataset: str | None) -> None:
    """Start the anchors of a model whose queries ask for it from the k-means of the boxes in a dataset.

    All processes start from the same anchors, whatever their seeds are.

    dataset: the registered name of the training data.

    Raises ValueError if there is no dataset.
    """
    queries = getattr(model, "queries", None)
    if not getattr(queries, "from_boxes", False):
        return
    if dataset is None:
        raise ValueError("model.queries.from_boxes needs boxes: give dataset.root or dataset.train")

    def clusters() -> np.ndarray:
        boxes = normalized_boxes(DatasetCatalog.get(dataset))
        return typical_boxes(boxes, queries.num_queries, np.random.default_rng(0))

    boxes = from_main(clusters)
    queries.start_from(torch.as_tensor(boxes))
    logger.info("%d anchors start as the k-means of the boxes in dataset.train.", len(boxes))
