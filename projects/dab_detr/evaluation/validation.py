"""Losses on the validation set."""

from collections import defaultdict

import torch
from detectron2.config import LazyCall
from detectron2.data import DatasetMapper
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from omegaconf import DictConfig
from torch import nn

from ..losses.batch import EffectiveBatch


class ValidationLosses(DatasetEvaluator):
    """Matching losses on the validation set: in the same pass as AP, without dropout and denoising.

    Each is the mean over images of the image's own loss, weighted as training weights the images of a batch: by their
    number of objects, at least 1. Inputs need `instances`, which `with_objects` adds.

    model: a DABDETR.
    """

    def __init__(self, model: nn.Module):
        self.model, self.watching = model, None

    def reset(self) -> None:
        self.sums, self.weight = defaultdict(float), 0
        self.watching = self.watching or self.model.decoder.register_forward_hook(self._predicted)

    def _predicted(self, _, inputs, prediction) -> None:
        self.prediction = prediction

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        targets = self.model.targets(inputs)
        counts = torch.tensor([len(target.labels) for target in targets], device=self.model.device)
        losses = self.model.criterion.matched(self.prediction, targets, EffectiveBatch(counts), log=False)
        weight = max(1, int(counts.sum()))
        for name, loss in losses.items():
            self.sums[name] += weight * loss.item()
        self.weight += weight

    def evaluate(self) -> dict | None:
        """Return {"validation": {loss: mean}} with the sum as `total_loss`, or None except in the main process."""
        self.watching.remove()
        self.watching = None
        everywhere = comm.gather((dict(self.sums), self.weight))
        if not comm.is_main_process():
            return None
        weight = sum(weight for _, weight in everywhere)
        names = dict.fromkeys(name for sums, _ in everywhere for name in sums)
        losses = {name: sum(sums.get(name, 0.0) for sums, _ in everywhere) / weight for name in names}
        return {"validation": {"total_loss": sum(losses.values()), **losses}}


def with_objects(test_loader: DictConfig) -> DictConfig:
    """The node of a test loader whose mapper adds `instances`. Raises ValueError for a mapper that cannot."""
    if "is_train" not in test_loader.get("mapper", {}):
        raise ValueError("train.validation_loss needs dataloader.test.mapper with is_train, as DatasetMapper has it")
    test_loader = test_loader.copy()
    test_loader.mapper = LazyCall(keep_objects)(mapper=test_loader.mapper)
    return test_loader


def keep_objects(mapper: DatasetMapper) -> DatasetMapper:
    """The mapper, which keeps the objects of an image from now on.

    Built as one for training, it would log "Augmentations used in training" although it serves validation.
    """
    mapper.is_train = True  # its other effects concern proposals and segmentation
    return mapper
