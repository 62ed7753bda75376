"""The set criterion: matching, then the losses of every decoder layer."""

from collections.abc import Sequence

import torch
from detectron2.utils import comm
from torch import Tensor
from torchvision.ops import box_convert

from ..compat import event_storage
from ..modeling.boxes import full_precision, generalized_iou
from ..modeling.structures import Matches, Prediction, Target
from .classification import FocalLoss
from .matcher import HungarianMatcher


class SetCriterion:
    """Losses of a set of predictions against the objects they are matched with.

    Every layer is matched on its own and has the same three losses: `loss_ce` (classification, over all queries),
    `loss_bbox` (L1 of cxcywh) and `loss_giou` (1 - GIoU), the latter two over matched queries. Each is a sum
    divided by the number of objects, averaged over processes, at least 1.

    auxiliary: whether the layers before the last have losses too.
    eps: of the GIoU, see `boxes.generalized_iou`.
    """

    def __init__(
        self,
        *,
        matcher: HungarianMatcher,
        classification: FocalLoss,
        weight_class: float = 1.0,
        weight_bbox: float = 5.0,
        weight_giou: float = 2.0,
        auxiliary: bool = True,
        eps: float = 1e-6,
    ):
        self.matcher, self.classification, self.eps = matcher, classification, eps
        self.weights = {"loss_ce": weight_class, "loss_bbox": weight_bbox, "loss_giou": weight_giou}
        self.auxiliary = auxiliary

    def __call__(self, prediction: Prediction, targets: Sequence[Target]) -> dict[str, Tensor]:
        """The weighted losses by the original's names: `loss_ce` is the last layer's, `loss_ce_0` the first's."""
        first = 0 if self.auxiliary else -1
        prediction = Prediction(full_precision(prediction.logits[first:]), full_precision(prediction.boxes[first:]))
        matches = self.matcher(prediction, targets)
        labels = self.labels(prediction, targets, matches)
        losses = {"loss_ce": self.classification(prediction.logits, labels)}
        losses |= self.box_losses(prediction, targets, matches)
        log_diagnostics(prediction.logits[-1], labels[-1])
        num_boxes = self.num_boxes(targets)
        return by_layer({name: self.weights[name] * loss / num_boxes for name, loss in losses.items()})

    def labels(self, prediction: Prediction, targets: Sequence[Target], matches: Matches) -> Tensor:
        """The class that each query should answer (L, B, Q); K, one past the last, where it has no object."""
        *queries, num_classes = prediction.logits.shape
        labels = matches.object.new_full(queries, num_classes)
        labels[matches.query] = torch.cat([target.labels for target in targets])[matches.object]
        return labels

    def box_losses(self, prediction: Prediction, targets: Sequence[Target], matches: Matches) -> dict[str, Tensor]:
        """Sums over the matched boxes of each layer, (L,)."""
        boxes = prediction.boxes[matches.query]
        wanted = torch.cat([target.boxes for target in targets])[matches.object].to(boxes.dtype)
        overlap = generalized_iou(box_convert(boxes, "cxcywh", "xyxy"), box_convert(wanted, "cxcywh", "xyxy"), self.eps)
        losses = {"loss_bbox": (boxes - wanted).abs().sum(1), "loss_giou": 1 - overlap}
        layers = len(prediction.boxes)  # each has as many matches as any other
        return {name: loss.view(layers, len(boxes) // layers).sum(1) for name, loss in losses.items()}

    def num_boxes(self, targets: Sequence[Target]) -> Tensor:
        """Objects in the batches of all processes over the number of processes, at least 1."""
        count = targets[0].boxes.new_tensor(sum(len(target.labels) for target in targets))
        if comm.get_world_size() > 1:
            torch.distributed.all_reduce(count)
        return (count / comm.get_world_size()).clamp(min=1)


def by_layer(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """Losses (L,) to scalars: the last layer's under the plain name, the others with their number behind it."""
    return {
        name if layer == len(values) - 1 else f"{name}_{layer}": value
        for name, values in losses.items()
        for layer, value in enumerate(values.unbind())
    }


@torch.no_grad()
def log_diagnostics(logits: Tensor, labels: Tensor) -> None:
    """Two numbers of the last layer, for the log only: Detectron2 would add them up if they were among the losses.

    class_error: percent of matched queries (B, Q) whose best class is not their object's.
    cardinality_error: by how many the queries with a probability over 0.5 miss the number of objects, per image.
    """
    storage = event_storage()
    if storage is None:
        return
    matched = labels < logits.shape[-1]
    right = logits.argmax(-1) == labels
    storage.put_scalar("class_error", float(100 - 100 * right.sum() / matched.sum().clamp(min=1)))
    found = (logits.amax(-1) > 0).sum(1)
    storage.put_scalar("cardinality_error", float((found - matched.sum(1)).abs().float().mean()))
