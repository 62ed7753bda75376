"""A criterion, and its losses in a loop over layers, images and objects, with torchvision's losses."""

import torch
from torchvision.ops import box_convert, generalized_box_iou_loss, sigmoid_focal_loss

from dab_detr.losses.classification import FocalLoss
from dab_detr.losses.criterion import SetCriterion
from dab_detr.losses.matcher import HungarianMatcher
from dab_detr.modeling.structures import Noised, Prediction, Target
from samples import random_prediction

CLASSES = 4
GROUPS = 3
WEIGHTS = {"loss_ce": 1.0, "loss_bbox": 5.0, "loss_giou": 2.0}


def criterion(**options) -> SetCriterion:
    classification = FocalLoss()
    return SetCriterion(
        matcher=HungarianMatcher(classification=classification), classification=classification, **options
    )


def learnable(prediction: Prediction) -> Prediction:
    return Prediction(prediction.logits.requires_grad_(), prediction.boxes.requires_grad_())


def by_hand(prediction: Prediction, targets: list[Target], eps: float = 1e-6) -> dict[str, torch.Tensor]:
    """Unweighted losses of every layer, image by image, with torchvision's losses."""
    matcher, losses = criterion().matcher, {}
    layers = len(prediction.logits)
    num_boxes = max(sum(len(target.labels) for target in targets), 1)
    for layer in range(layers):
        sums = dict.fromkeys(("loss_ce", "loss_bbox", "loss_giou"), torch.tensor(0.0))
        for image, (labels, boxes, _) in enumerate(targets):
            logits, guesses = prediction.logits[layer, image], prediction.boxes[layer, image]
            matches = matcher(Prediction(logits[None, None], guesses[None, None]), targets[image : image + 1])
            wanted = torch.zeros(len(logits), CLASSES, dtype=logits.dtype)
            for query, match in zip(matches.query[2], matches.object, strict=True):
                wanted[query, labels[match]] = 1
                guess, box = guesses[query], boxes[match]
                corners = (box_convert(x, "cxcywh", "xyxy") for x in (guess, box))
                sums["loss_bbox"] = sums["loss_bbox"] + (guess - box).abs().sum()
                sums["loss_giou"] = sums["loss_giou"] + generalized_box_iou_loss(*corners, eps=eps)
            sums["loss_ce"] = sums["loss_ce"] + sigmoid_focal_loss(logits, wanted, alpha=0.25, gamma=2, reduction="sum")
        suffix = "" if layer == layers - 1 else f"_{layer}"
        losses |= {f"{name}{suffix}": value / num_boxes for name, value in sums.items()}
    return losses


def noised_slots(targets: list[Target]) -> Noised:
    """As `Denoising` lays them out: group by group, in each as many slots as the image with most objects needs."""
    single = max(len(target.labels) for target in targets)
    valid = torch.zeros(len(targets), GROUPS, single, dtype=torch.bool)
    labels, boxes = valid.long(), torch.zeros(*valid.shape, 4)
    for b, target in enumerate(targets):
        n = len(target.labels)
        valid[b, :, :n], labels[b, :, :n], boxes[b, :, :n] = True, target.labels, target.boxes
    valid = valid.flatten(1)
    return Noised(labels.flatten(1), boxes.flatten(1, 2), positive=valid, weight=valid / GROUPS)


def random_slots(noised: Noised, layers: int = 2) -> Prediction:
    return random_prediction(layers, *noised.valid.shape, seed=9)
