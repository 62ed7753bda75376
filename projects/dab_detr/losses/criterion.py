"""The set criterion: matching, then the losses of every decoder layer."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torchvision.ops import box_convert

from ..modeling.boxes import full_precision, generalized_iou, iou
from ..modeling.structures import HeadAnswer, Noised, Prediction, Target
from .batch import EffectiveBatch
from .classification import FocalLoss, SoftmaxLoss
from .diagnostics import log_diagnostics
from .matcher import HungarianMatcher


class SetCriterion:
    """Losses of a set of predictions against the objects that they are matched with.

    Every layer is matched separately and has the same three losses: `loss_ce` (classification, over all queries),
    `loss_bbox` (L1 of cxcywh) and `loss_giou` (1 - GIoU), the latter two over matched queries. Each is a sum
    divided by the number of objects per process in the effective batch.

    Some predictions have further losses: `_enc` for the proposals of two-stage detectors, and `_dn` for denoising
    queries, which know their answer without matching. Auxiliary heads have losses of their own;
    those of the queries from their samples end in the name of the head.

    auxiliary: whether the layers before the last, and proposals, have losses too.
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

    def __call__(
        self, prediction: Prediction, targets: Sequence[Target], batch: EffectiveBatch | None = None
    ) -> dict[str, Tensor]:
        """The weighted losses by the original's names: `loss_ce` is the last layer's, `loss_ce_0` the first's.

        batch: the effective batch of these images; without one, it is these images and those of the other processes.
        """
        if batch is None:
            batch = EffectiveBatch.gather([len(target.labels) for target in targets], prediction.boxes.device)
        losses = self.matched(prediction, targets, batch)
        if prediction.proposals is not None and self.auxiliary:
            if self.class_agnostic:
                targets = [target._replace(labels=torch.zeros_like(target.labels)) for target in targets]
            losses |= renamed(self.matched(prediction.proposals, targets, batch, log=False), "enc")
        if prediction.denoised is not None:
            losses |= renamed(self.known(*prediction.denoised, batch.num_boxes(prediction.boxes)), "dn")
        for head in prediction.heads:
            losses |= self.of_head(head, batch)
        return losses

    def matched(
        self, prediction: Prediction, targets: Sequence[Target], batch: EffectiveBatch, log: bool = True
    ) -> dict[str, Tensor]:
        """Losses of queries that are first matched with the objects."""
        logits, boxes = self.layers(prediction)
        matches = self.matcher(Prediction(logits, boxes), targets)
        background = self.classification.background(logits)
        labels = matches.object.new_full(logits.shape[:3], background)
        all_labels = torch.cat([target.labels for target in targets])
        labels[matches.query] = all_labels[matches.object]
        if log:
            log_diagnostics(Prediction(logits, boxes), labels, matches, len(all_labels), self.classification)
        target_boxes = torch.cat([target.boxes for target in targets])[matches.object]
        by_layers = (len(logits), len(target_boxes) // len(logits), 4)  # every layer has the same number of matches
        return self.weighted(
            logits,
            labels,
            boxes[matches.query].view(by_layers),
            target_boxes.view(by_layers),
            self.classification.normalizer(batch, logits),
            batch.num_boxes(boxes),
        )

    def known(self, prediction: Prediction, noised: Noised, num_boxes: Tensor) -> dict[str, Tensor]:
        """Losses of queries that know their answer. Background queries have only `loss_ce`, empty slots have no loss.

        num_boxes: the divisor of all losses, besides the weight of each slot.
        """
        logits, boxes = self.layers(prediction)
        valid, positive = noised.valid, noised.positive
        labels = noised.labels.masked_fill(~positive, self.classification.background(logits))
        target_boxes = noised.boxes[positive].expand(len(boxes), -1, -1)
        return self.weighted(
            logits[:, None, valid],
            labels[valid].expand(len(logits), 1, -1),
            boxes[:, positive],
            target_boxes,
            num_boxes / noised.weight[valid],
            num_boxes / noised.weight[positive],
        )

    def of_head(self, head: HeadAnswer, batch: EffectiveBatch) -> dict[str, Tensor]:
        """Losses of an auxiliary head, and of the queries from its samples."""
        objects = batch.num_boxes(head.positives[0].boxes)
        divisor = objects if head.shared_by == "objects" else batch.queries(1)
        losses = {name: values.sum() / divisor for name, values in head.losses.items()}
        return losses | renamed(self.known(*head.positives, objects), head.name)

    def layers(self, prediction: Prediction) -> tuple[Tensor, Tensor]:
        """Logits and boxes of the layers that have losses, in full precision."""
        first = 0 if self.auxiliary else -1
        return full_precision(prediction.logits[first:]), full_precision(prediction.boxes[first:])

    def weighted(
        self, logits: Tensor, labels: Tensor, boxes: Tensor, target_boxes: Tensor, normalizer: Tensor, num_boxes: Tensor
    ) -> dict[str, Tensor]:
        """Losses from logits (L, B, Q, K) and labels (L, B, Q), boxes (L, M, 4) and target boxes (L, M, 4).

        The boxes are those of the queries with an object, in the order of the queries.

        normalizer, num_boxes: the divisors of the losses, each one number, or (B, Q) and (M,).
        """
        corners = [box_convert(x, "cxcywh", "xyxy") for x in (boxes, target_boxes)]
        overlap = generalized_iou(*corners, self.eps)
        quality = ()
        if self.classification.by_quality:
            found = labels != self.classification.background(logits)
            quality = (torch.zeros_like(labels, dtype=boxes.dtype).masked_scatter(found, iou(*corners).detach()),)
        losses = {
            "loss_ce": self.classification(logits, labels, normalizer, *quality),
            "loss_bbox": ((boxes - target_boxes).abs().sum(2) / num_boxes).sum(1),
            "loss_giou": ((1 - overlap) / num_boxes).sum(1),
        }
        return by_layer({name: self.weights[name] * loss for name, loss in losses.items()})


def by_layer(losses: dict[str, Tensor]) -> dict[str, Tensor]:
    """Losses (L,) as scalars: the last layer's under the plain name, the others with their number appended."""
    return {
        name if layer == len(values) - 1 else f"{name}_{layer}": value
        for name, values in losses.items()
        for layer, value in enumerate(values.unbind())
    }


def renamed(losses: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    """`loss_ce_0` as `loss_ce_dn_0`, for part "dn"; `loss_ce` as `loss_ce_dn`."""
    return {"_".join([*name.split("_")[:2], part, *name.split("_")[2:]]): loss for name, loss in losses.items()}
