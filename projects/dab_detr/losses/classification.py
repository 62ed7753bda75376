"""Classification losses and the costs of matching that belong to them."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..modeling.part import Part
from .batch import EffectiveBatch


class FocalLoss(Part):
    """Sigmoid focal loss, and its part in the cost of matching.

    alpha weighs objects against background, gamma how much easy answers are played down.
    """

    no_object_class = False

    def __init__(self, *, alpha: float = 0.25, gamma: float = 2.0):
        self.alpha, self.gamma = alpha, gamma

    def background(self, logits: Tensor) -> int:
        """The label of a query without an object: one past the last class."""
        return logits.shape[-1]

    def finds(self, logits: Tensor) -> Tensor:
        """Whether queries (..., K) answer with an object (...): with a probability over 0.5."""
        return logits.amax(-1) > 0

    def normalizer(self, batch: EffectiveBatch, logits: Tensor) -> Tensor:
        """What the loss of matched queries (L, B, Q, K) is divided by: the number of objects."""
        return batch.num_boxes(logits)

    def __call__(self, logits: Tensor, labels: Tensor, normalizer: Tensor) -> Tensor:
        """Sum over all queries and classes by the normalizer, (L,) for each layer.

        logits: (L, B, Q, K). labels: (L, B, Q) class indices, `background` where a query has no object.
        normalizer: one number, or one for each query (B, Q).
        """
        every = self.absent(logits).sum(-1)
        own = logits.gather(-1, labels.clamp(max=logits.shape[-1] - 1)[..., None])[..., 0]
        change = torch.where(labels < logits.shape[-1], self.present(own) - self.absent(own), 0.0)
        return ((every + change) / normalizer).flatten(1).sum(1)

    def present(self, logits: Tensor) -> Tensor:
        """The loss (...) of logits (...) of classes that are there."""
        return self.alpha * (1 - logits.sigmoid()) ** self.gamma * softplus(-logits)

    def absent(self, logits: Tensor) -> Tensor:
        """The loss (...) of logits (...) of classes that are not there: nearly all, so the sum begins with these."""
        return (1 - self.alpha) * logits.sigmoid() ** self.gamma * softplus(logits)

    def cost(self, logits: Tensor, labels: Tensor) -> Tensor:
        """What giving a query (L, B, Q, K) each of the labels (B, N) costs, to (L, B, Q, N)."""
        index = labels[None, :, None].expand(*logits.shape[:3], -1)
        probability = logits.gather(-1, index).sigmoid()
        found = self.alpha * (1 - probability) ** self.gamma * -torch.log(probability + 1e-8)
        absent = (1 - self.alpha) * probability**self.gamma * -torch.log(1 - probability + 1e-8)
        return found - absent


def softplus(x: Tensor) -> Tensor:
    """log(1 + exp(x)). torch's own goes through log1p, which took 50 times as long as log on the CPU we measured."""
    larger = x.detach().clamp(min=0)
    return larger + torch.log(torch.exp(-larger) + torch.exp(x - larger))


class SoftmaxLoss(Part):
    """Cross-entropy over the classes and "no object", the last one, which weighs only `no_object`: DETR's.

    It is a weighted mean over all queries of the effective batch.
    """

    no_object_class = True

    def __init__(self, *, no_object: float = 0.1):
        self.no_object = no_object

    def background(self, logits: Tensor) -> int:
        """The label of a query without an object: the last class."""
        return logits.shape[-1] - 1

    def finds(self, logits: Tensor) -> Tensor:
        """Whether queries (..., K + 1) answer with an object (...): where "no object" is not the best class."""
        return logits.argmax(-1) != self.background(logits)

    def normalizer(self, batch: EffectiveBatch, logits: Tensor) -> Tensor:
        """The weights of all queries, of which those with an object have 1."""
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
        """What giving a query (L, B, Q, K + 1) each of the labels (B, N) costs, to (L, B, Q, N)."""
        index = labels[None, :, None].expand(*logits.shape[:3], -1)
        return -logits.softmax(-1).gather(-1, index)
