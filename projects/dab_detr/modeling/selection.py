"""Turns the logits of the last layer into detections: pairs of a query and a class."""

from torch import Tensor

from .boxes import full_precision
from .part import Part


class TopPairs(Part):
    """The `num_select` best pairs of query and class by sigmoid score; a query may have several classes."""

    no_object_class = False

    def __init__(self, *, num_select: int):
        self.num_select = num_select

    def __call__(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, Q, K) to scores, query indices and class indices, each (B, N), best first."""
        scores = full_precision(logits).sigmoid().flatten(1)
        scores, index = scores.topk(min(self.num_select, scores.shape[1]))
        return scores, index // logits.shape[-1], index % logits.shape[-1]


class BestClasses(Part):
    """DETR's selection: the best class of each query by softmax score, without "no object" (the last class)."""

    no_object_class = True

    def __call__(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, Q, K + 1) to scores, query indices and class indices, each (B, Q), best first."""
        scores, labels = full_precision(logits).softmax(-1)[..., :-1].max(-1)
        scores, query = scores.sort(descending=True)
        return scores, query, labels.gather(1, query)
