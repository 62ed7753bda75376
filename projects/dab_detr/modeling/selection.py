"""Turns the answers of the last layer into detections: pairs of a query and a class."""

import torch
from torch import Tensor
from torchvision.ops import box_convert

from .boxes import full_precision, iou
from .part import Part
from .structures import at_most

LEAST = 1e-3  # score below which soft-NMS drops a detection
NO_GRAPH = (
    "soft-NMS takes one detection after the other, which a traced or exported graph cannot do: "
    "set model.selection.soft_nms=null (mmdetection reports 0.2 AP less for Co-DINO)"
)


class Selection(Part):
    """Base of the selections: the best pairs, then soft-NMS among the boxes of each class where it is asked for.

    soft_nms: IoU from which a better detection of the same class lowers the score of a worse one, see `soft_nms`.
        Co-DINO uses 0.8. None leaves the scores as they are.
    num_keep: number of detections that remain, the best. None: all.
    """

    def __init__(self, *, soft_nms: float | None = None, num_keep: int | None = None):
        if soft_nms is not None and not 0 <= soft_nms <= 1:
            raise ValueError(f"model.selection.soft_nms must be an IoU from 0 to 1, got {soft_nms}")
        self.soft_nms, self.num_keep = soft_nms, num_keep

    @property
    def by_boxes(self) -> bool:
        return self.soft_nms is not None

    def __call__(self, logits: Tensor, boxes: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """Logits (B, Q, K) to scores, query indices and class indices, each (B, N), best first.

        boxes: (B, Q, 4) cxcywh, normalized, for soft-NMS. Detections that it drops get the score -inf.

        Raises ValueError for soft-NMS under `torch.jit.trace`, because a trace would fix the steps taken for one image.
        """
        scores, query, labels = self.pairs(logits)
        if self.by_boxes:
            if torch.jit.is_tracing():
                raise ValueError(NO_GRAPH)
            corners = box_convert(full_precision(boxes), "cxcywh", "xyxy").clamp(0, 1)
            corners = corners.gather(1, query[..., None].expand(-1, -1, 4))
            scores = torch.stack([soft_nms(*x, self.soft_nms) for x in zip(corners, scores, labels, strict=True)])
            scores, order = scores.sort(descending=True, stable=True)
            query, labels = query.gather(1, order), labels.gather(1, order)
        return scores[:, : self.num_keep], query[:, : self.num_keep], labels[:, : self.num_keep]

    def pairs(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Scores, query indices and class indices before soft-NMS, each (B, N), best first."""
        raise NotImplementedError


class TopPairs(Selection):
    """The `num_select` best pairs of query and class by sigmoid score; a query may have several classes.

    Further options are those of `Selection`.
    """

    no_object_class = False

    def __init__(self, *, num_select: int, **options):
        super().__init__(**options)
        self.num_select = num_select

    def pairs(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores = full_precision(logits).sigmoid().flatten(1)
        scores, index = scores.topk(at_most(self.num_select, scores.shape[1]))
        return scores, index // logits.shape[-1], index % logits.shape[-1]


class BestClasses(Selection):
    """DETR's selection: the best class of each query by softmax score, without "no object" (the last class).

    Its options are those of `Selection`.
    """

    no_object_class = True

    def pairs(self, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        scores, labels = full_precision(logits).softmax(-1)[..., :-1].max(-1)
        scores, query = scores.sort(descending=True)
        return scores, query, labels.gather(1, query)


def soft_nms(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Scores (N,) after linear soft-NMS among the boxes (N, 4) of each class, in xyxy.

    The best box is taken, and the scores of all that overlap it by the IoU `threshold` or more are multiplied by
    1 - IoU; then the next best, and so on. Scores that end below `LEAST` become -inf, except the best one of all.
    """
    overlap = iou(boxes[:, None], boxes) * (labels[:, None] == labels)
    factors = torch.where(overlap >= threshold, 1 - overlap, 1.0).fill_diagonal_(1.0).cpu()
    lowered = scores.detach().cpu()
    first = lowered.argmax()
    waiting = (factors < 1).any(1)  # the order of the others does not matter
    while waiting.any():
        best = lowered.masked_fill(~waiting, -1.0).argmax()
        waiting[best] = False
        lowered = torch.where(waiting, lowered * factors[best], lowered)
        waiting &= lowered >= LEAST
    dropped = (lowered < LEAST) & (torch.arange(len(lowered)) != first)
    return lowered.masked_fill(dropped, -torch.inf).to(scores.device)
