"""Notices a model that finds the same in every picture."""

from collections.abc import Sequence

import torch
from detectron2.structures import Boxes, pairwise_iou

from .ranking import OVERLAP, Judged, boxes_of

PICTURES = 10  # fewer may look alike
SAME_BOX, SAME_SHARE, ON_OBJECT_SHARE = 0.7, 0.75, 0.25
"""Lowest IoU with the median box, lowest share of such pictures, and share of boxes on objects that shows a use.

After 1,500 steps of configs/shapes/detr.py (AP 0), 91 % of the first boxes were such; after as many of
configs/shapes/conditional_detr.py (AP 46), none was.
"""


def same_everywhere(pictures: Sequence[Judged]) -> str | None:
    """Return a sentence if the first detection of most pictures is nearly the same box, and seldom on an object.

    Only pictures with an object count, crowd regions left out. Classes do not matter.
    """
    pictures = [x for x in pictures if x.right + x.missed]
    first = [x for x in pictures if len(x.detections)]
    if len(first) < PICTURES:
        return None
    boxes = torch.cat([first_box(x) / torch.tensor(x.detections.image_size[::-1]).repeat(2) for x in first])
    same = (pairwise_iou(Boxes(boxes), Boxes(boxes.median(0).values[None])) >= SAME_BOX).sum().item()
    if same < SAME_SHARE * len(pictures) or sum(map(on_object, first)) > ON_OBJECT_SHARE * len(pictures):
        return None
    return (
        f"In {same} of {len(pictures)} pictures, the detection with the highest score is nearly the same box. The "
        "model has learned where objects usually are, but it does not look at the picture yet. Train it for more "
        "iterations, or start from weights of a detector (train.init_checkpoint)."
    )


def first_box(picture: Judged) -> torch.Tensor:
    """The box (1, 4) with the highest score, xyxy in pixels."""
    return picture.detections.pred_boxes.tensor[:1]


def on_object(picture: Judged) -> bool:
    """Whether the box with the highest score is on an object of any class."""
    objects = [x for x in picture.record["annotations"] if not x.get("iscrowd")]
    return bool((pairwise_iou(Boxes(first_box(picture)), boxes_of(objects)) >= OVERLAP).any())
