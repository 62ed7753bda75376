"""Numbers about the last layer's predictions, for the log and the watchdog. They are not losses."""

import torch
from torch import Tensor

from ..compat import event_storage
from ..modeling.structures import Matches, Prediction
from .classification import FocalLoss, SoftmaxLoss


@torch.no_grad()
def log_diagnostics(
    prediction: Prediction,
    labels: Tensor,
    matches: Matches,
    objects: int,
    classification: FocalLoss | SoftmaxLoss,
) -> None:
    """Log the numbers to the event storage, if there is one. (Detectron2 would add them to the losses.)

    labels: (L, B, Q) labels of the objects that the queries are matched with, or the background.
    objects: number of objects in the batch.
    """
    storage = event_storage()
    if storage is None:
        return
    logits, boxes, background = (
        prediction.logits[-1],
        prediction.boxes[-1],
        classification.background(prediction.logits),
    )
    numbers = {
        "class_error": class_error(logits, labels[-1], background),
        "cardinality_error": cardinality_error(classification.finds(logits), labels[-1] != background),
        "box_spread": spread(boxes),
        "logit_spread": spread(logits),
    }
    if len(labels) > 1:
        numbers["match_churn"] = match_churn(matches, len(labels), objects)
    values = torch.stack([x.float() for x in numbers.values()]).tolist()  # one wait for the device
    storage.put_scalars(**dict(zip(numbers, values, strict=True)))


def class_error(logits: Tensor, labels: Tensor, background: int) -> Tensor:
    """Percent of matched queries (B, Q) whose best class is not that of their object."""
    matched = labels != background
    right = (logits.argmax(-1) == labels) & matched
    return 100 - 100 * right.sum() / matched.sum().clamp(min=1)


def cardinality_error(found: Tensor, matched: Tensor) -> Tensor:
    """Difference between the number of queries that find an object (B, Q) and that are matched (B, Q), averaged over
    images."""
    return (found.sum(1) - matched.sum(1)).abs().float().mean()


def spread(answers: Tensor) -> Tensor:
    """Standard deviation of the predictions (B, Q, C) over the queries of an image; 0 if all are the same."""
    return answers.float().std(1, unbiased=False).mean()


def match_churn(matches: Matches, layers: int, objects: int) -> Tensor:
    """Percent of the objects whose query in the last layer differs from the layer before."""
    layer, _, query = matches.query
    queries = query.new_full((layers, objects), -1)
    queries[layer, matches.object] = query
    return 100 * (queries[-1] != queries[-2]).sum() / max(objects, 1)
