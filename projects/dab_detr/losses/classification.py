"""Classification losses, and their costs for matching."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..modeling.part import Part
from .batch import EffectiveBatch


class FocalLoss(Part):
    """Sigmoid focal loss, and its cost for matching.

    alpha weighs objects against background; a larger gamma gives easy predictions less weight.
    """

    no_object_class, by_quality = False, False

    def __init__(self, *, alpha: float = 0.25, gamma: float = 2.0):
        self.alpha, self.gamma = alpha, gamma

    def background(self, logits: Tensor) -> int:
        """The label of a query without an object: one past the last class."""
        return logits.shape[-1]

    def finds(self, logits: Tensor) -> Tensor:
        """Whether queries (..., K) find an object (...): the probability of some class is above 0.5."""
        return logits.amax(-1) > 0

    def normalizer(self, batch: EffectiveBatch, logits: Tensor) -> Tensor:
        """The divisor of the loss of matched queries (L, B, Q, K): the number of objects."""
        return batch.num_boxes(logits)

    def __call__(self, logits: Tensor, labels: Tensor, normalizer: Tensor, quality: Tensor | float = 1.0) -> Tensor:
        """Sum over all queries and classes by the normalizer, (L,) for each layer.

        logits: (L, B, Q, K). labels: (L, B, Q) class indices, `background` for a query without an object.
        normalizer: one number, or one for each query (B, Q).
        quality: (L, B, Q) the IoU of a query's box and its object, where the loss is `by_quality`.
        """
        every = self.absent(logits).sum(-1)
        own = logits.gather(-1, labels.clamp(max=logits.shape[-1] - 1)[..., None])[..., 0]
        change = torch.where(labels < logits.shape[-1], self.present(own, quality) - self.absent(own), 0.0)
        return ((every + change) / normalizer).flatten(1).sum(1)

    def present(self, logits: Tensor, quality: Tensor | float) -> Tensor:
        """The loss (...) of logits (...) of classes that are present."""
        return self.alpha * (1 - logits.sigmoid()) ** self.gamma * softplus(-logits)

    def absent(self, logits: Tensor) -> Tensor:
        """The loss (...) of logits (...) of classes that are absent. Nearly all are, so the sum begins with these."""
        return (1 - self.alpha) * logits.sigmoid() ** self.gamma * softplus(logits)

    def cost(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cost (L, B, Q, N) of matching queries (L, B, Q, K) with labels (B, N)."""
        index = labels[None, :, None].expand(*logits.shape[:3], -1)
        probability = logits.gather(-1, index).sigmoid()
        found = self.alpha * (1 - probability) ** self.gamma * -torch.log(probability + 1e-8)
        absent = (1 - self.alpha) * probability**self.gamma * -torch.log(1 - probability + 1e-8)
        return found - absent


class QualityFocalLoss(FocalLoss):
    """Co-DINO's focal loss: the probability of a class learns the quality of the query's box.

    The target of a query's class is the IoU of its box and its object, that of other classes is 0. Each costs its
    cross-entropy times the distance from the target to the power of `beta`. Matching costs what it does in `FocalLoss`.
    """

    by_quality = True

    def __init__(self, *, beta: float = 2.0):
        super().__init__()
        self.beta = beta

    def present(self, logits: Tensor, quality: Tensor | float) -> Tensor:
        return (quality - logits.sigmoid()).abs() ** self.beta * (softplus(logits) - quality * logits)

    def absent(self, logits: Tensor) -> Tensor:
        return logits.sigmoid() ** self.beta * softplus(logits)


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)). torch's softplus uses log1p, which took 50 times as long as log on the CPU we measured."""
    larger = x.detach().clamp(min=0)
    return larger + torch.log(torch.exp(-larger) + torch.exp(x - larger))


class SoftmaxLoss(Part):
    """DETR's cross-entropy over the classes and "no object", the last one, whose weight is `no_object`.

    The loss is a weighted mean over all queries of the effective batch.
    """

    no_object_class, by_quality = True, False

    def __init__(self, *, no_object: float = 0.1):
        self.no_object = no_object

    def background(self, logits: Tensor) -> int:
        """The label of a query without an object: the last class."""
        return logits.shape[-1] - 1

    def finds(self, logits: Tensor) -> Tensor:
        """Whether queries (..., K + 1) find an object (...): their best class is not "no object"."""
        return logits.argmax(-1) != self.background(logits)

    def normalizer(self, batch: EffectiveBatch, logits: Tensor) -> Tensor:
        """The sum of the weights of all queries; a query with an object has weight 1."""
        num_queries = logits.shape[2]
        matched = batch.matched(num_queries, logits)
        return matched + self.no_object * (batch.queries(num_queries) - matched)

    def __call__(self, logits: Tensor, labels: Tensor, normalizer: Tensor) -> Tensor:
        """logits (L, B, Q, K + 1) and labels (L, B, Q) to the loss (L,) of each layer.

        normalizer: one number, or one for each query (B, Q).
        """
        entropy = F.cross_entropy(logits.flatten(0, 2), labels.flatten(), reduction="none").view_as(labels)
        weight = torch.ones_like(entropy).masked_fill(labels == self.background(logits), self.no_object)
        return (weight * entropy / normalizer).flatten(1).sum(1)

    def cost(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Cost (L, B, Q, N) of matching queries (L, B, Q, K + 1) with labels (B, N)."""
        index = labels[None, :, None].expand(*logits.shape[:3], -1)
        return -logits.softmax(-1).gather(-1, index)
