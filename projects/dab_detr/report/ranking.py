"""Ranks the pictures of an evaluation from the worst to the best."""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from detectron2.structures import Boxes, BoxMode, Instances, pairwise_iou

OVERLAP = 0.5  # lowest IoU between a right detection and its object


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A picture with its detections, and counts of the detections that reach the threshold and of missed objects."""

    record: dict
    detections: Instances
    right: int
    wrong: int
    missed: int

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall; 1 if there is no object and nothing was found."""
        total = 2 * self.right + self.wrong + self.missed
        return 2 * self.right / total if total else 1.0

    def __str__(self) -> str:
        name = Path(self.record["file_name"]).name
        return f"{name}: {self.right} right, {self.wrong} wrong, {self.missed} missed (F1 {self.f1:.2f})"


def judged(path: Path, records: Sequence[dict], *, labels: Mapping[int, int], score_threshold: float) -> list[Judged]:
    """The pictures of an evaluation, from the worst to the best.

    Among pictures with the same F1, more errors come first. Among perfect pictures, more objects come last.

    path: the detections in COCO's format. records: dataset dicts. labels: the index of a class by its category id.
    """
    found = defaultdict(list)
    for x in json.loads(path.read_text()):
        found[x["image_id"]].append(x)
    pictures = [judge(x, instances(found[x["image_id"]], x, labels), score_threshold) for x in records]
    return sorted(pictures, key=lambda x: (x.f1, -x.wrong - x.missed if x.f1 < 1 else x.right))


def instances(detections: Sequence[dict], record: dict, labels: Mapping[int, int]) -> Instances:
    """Detections of one image as Detectron2 holds them, the highest score first."""
    detections = sorted(detections, key=lambda x: -x["score"])
    boxes = np.array([BoxMode.convert(x["bbox"], BoxMode.XYWH_ABS, BoxMode.XYXY_ABS) for x in detections])
    result = Instances((record["height"], record["width"]))
    result.pred_boxes = Boxes(torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4))
    result.scores = torch.tensor([x["score"] for x in detections], dtype=torch.float32)
    result.pred_classes = torch.tensor([labels[x["category_id"]] for x in detections], dtype=torch.int64)
    return result


def boxes_of(objects: Sequence[dict]) -> Boxes:
    """The boxes of annotations in a dataset dict."""
    boxes = [BoxMode.convert(x["bbox"], x["bbox_mode"], BoxMode.XYXY_ABS) for x in objects]
    return Boxes(torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4))


def judge(record: dict, detections: Instances, score_threshold: float) -> Judged:
    """Count right and wrong detections and missed objects of one image. Detections in crowd regions do not count.

    Each detection, in the order of scores, takes the free object of its class with the largest IoU of at least 0.5.
    """
    kept = detections[detections.scores >= score_threshold]
    objects = record.get("annotations", [])
    overlaps = pairwise_iou(kept.pred_boxes, boxes_of(objects))
    classes = torch.tensor([x["category_id"] for x in objects], dtype=torch.int64)
    crowd = torch.tensor([bool(x.get("iscrowd")) for x in objects], dtype=torch.bool)
    fits = (overlaps >= OVERLAP) & (kept.pred_classes[:, None] == classes)
    right = wrong = 0
    for i in range(len(kept)):
        candidates = torch.where(fits[i] & ~crowd, overlaps[i], torch.zeros(()))
        if len(objects) and candidates.max() > 0:
            fits[:, candidates.argmax()] = False
            right += 1
        elif not (fits[i] & crowd).any():
            wrong += 1
    return Judged(record=record, detections=detections, right=right, wrong=wrong, missed=int((~crowd).sum()) - right)
