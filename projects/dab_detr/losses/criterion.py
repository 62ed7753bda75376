"""The set criterion: matching, then the losses of every decoder layer."""

from collections.abc import Sequence

import torch
from detectron2.utils import comm
from torch import Tensor
from torchvision.ops import box_convert

from ..compat import event_storage
from ..modeling.boxes import full_precision, generalized_iou
from ..modeling.structures import Noised, Prediction, Target
from .classification import FocalLoss, SoftmaxLoss
from .matcher import HungarianMatcher


class SetCriterion:
    """Losses of a set of predictions against the objects they are matched with.

    Every layer is matched on its own and has the same three losses: `loss_ce` (classification, over all queries),
    `loss_bbox` (L1 of cxcywh) and `loss_giou` (1 - GIoU), the latter two over matched queries. Each is a sum
    divided by the number of objects, averaged over processes, at least 1.

    Predictions that carry them have further losses: `_enc`, the same for the proposals of two-stage detectors, and
    `_dn`, of denoising queries, which know their object without matching.

    auxiliary: whether the layers before the last have losses too.
    class_agnostic: whether proposals learn only to tell objects from background, as class 0.
    eps: of the GIoU, see `boxes.generalized_iou`.
    """

    def __init__(
        self,
        *,
        matcher: HungarianMatcher,
        classification: FocalLoss | SoftmaxLoss,
        weight_class: float = 1.0,
        weight_bbox: float = 5.0,
        weight_giou: float = 2.0,
        auxiliary: bool = True,
        class_agnostic: bool = False,
        eps: float = 1e-6,
    ):
        self.matcher, self.classification, self.eps = matcher, classification, eps
        self.weights = {"loss_ce": weight_class, "loss_bbox": weight_bbox, "loss_giou": weight_giou}
        self.auxiliary, self.class_agnostic = auxiliary, class_agnostic

    def __call__(self, prediction: Prediction, targets: Sequence[Target]) -> dict[str, Tensor]:
        """The weighted losses by the original's names: `loss_ce` is the last layer's, `loss_ce_0` the first's."""
        num_boxes = self.num_boxes(targets)
        losses = self.matched(prediction, targets, num_boxes)
        if prediction.proposals is not None:
            if self.class_agnostic:
                targets = [Target(torch.zeros_like(labels), boxes) for labels, boxes in targets]
            losses |= renamed(self.matched(prediction.proposals, targets, num_boxes, log=False), "enc")
        if prediction.denoised is not None:
            losses |= renamed(self.denoised(*prediction.denoised, num_boxes), "dn")
        return losses

    def matched(
        self, prediction: Prediction, targets: Sequence[Target], num_boxes: Tensor, log: bool = True
    ) -> dict[str, Tensor]:
        """Losses of queries that must first be matched with the objects."""
        logits, boxes = self.layers(prediction)
        matches = self.matcher(Prediction(logits, boxes), targets)
        background = self.classification.background(logits)
        labels = matches.object.new_full(logits.shape[:3], background)
        labels[matches.query] = torch.cat([target.labels for target in targets])[matches.object]
        if log:
            log_diagnostics(logits[-1], labels[-1], background, self.classification.finds(logits[-1]))
        wanted = torch.cat([target.boxes for target in targets])[matches.object]
        by_layers = (len(logits), len(wanted) // len(logits), 4)  # every layer has as many matches
        return self.weighted(logits, labels, boxes[matches.query].view(by_layers), wanted.view(by_layers), num_boxes)

    def denoised(self, prediction: Prediction, noised: Noised, num_boxes: Tensor) -> dict[str, Tensor]:
        """Losses of denoising queries; the padding among their slots has none."""
        logits, boxes = (x[:, noised.valid] for x in self.layers(prediction))
        labels = noised.labels[noised.valid].expand(len(logits), 1, -1)
        wanted = noised.boxes[noised.valid].expand_as(boxes)
        return self.weighted(logits[:, None], labels, boxes, wanted, num_boxes * noised.groups)

    def layers(self, prediction: Prediction) -> tuple[Tensor, Tensor]:
        """Logits and boxes of the layers that have losses, in full precision."""
        first = 0 if self.auxiliary else -1
        return full_precision(prediction.logits[first:]), full_precision(prediction.boxes[first:])

    def weighted(
        self, logits: Tensor, labels: Tensor, boxes: Tensor, wanted: Tensor, num_boxes: Tensor
    ) -> dict[str, Tensor]:
        """Losses from logits (L, B, Q, K) and labels (L, B, Q), boxes (L, M, 4) and those they should be (L, M, 4)."""
        overlap = generalized_iou(box_convert(boxes, "cxcywh", "xyxy"), box_convert(wanted, "cxcywh", "xyxy"), self.eps)
        losses = {
            "loss_ce": self.classification(logits, labels, num_boxes),
            "loss_bbox": (boxes - wanted).abs().sum((1, 2)) / num_boxes,
            "loss_giou": (1 - overlap).sum(1) / num_boxes,
        }
        return by_layer({name: self.weights[name] * loss for name, loss in losses.items()})

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


def renamed(losses: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """`loss_ce_0` as `loss_ce_dn_0`, for part "dn"; `loss_ce` as `loss_ce_dn`."""
    return {"_".join([*name.split("_")[:2], part, *name.split("_")[2:]]): loss for name, loss in losses.items()}


@torch.no_grad()
def log_diagnostics(logits: Tensor, labels: Tensor, background: int, found: Tensor) -> None:
    """Two numbers of the last layer, for the log only: Detectron2 would add them up if they were among the losses.

    class_error: percent of matched queries (B, Q) whose best class is not their object's.
    cardinality_error: by how many the queries that found something (B, Q) miss the number of objects, per image.
    """
    storage = event_storage()
    if storage is None:
        return
    matched = labels != background
    right = (logits.argmax(-1) == labels) & matched
    wrong = 100 - 100 * right.sum() / matched.sum().clamp(min=1)
    missed = (found.sum(1) - matched.sum(1)).abs().float().mean()
    class_error, cardinality_error = torch.stack([wrong, missed]).tolist()  # one wait for the device
    storage.put_scalars(class_error=class_error, cardinality_error=cardinality_error)
