"""Counts confusions between classes."""

import numpy as np
from pycocotools.coco import COCO
from pycocotools.mask import iou

OVERLAP = 0.5  # least IoU between a detection and its object


def count_confusions(truth: COCO, detections: COCO, score_threshold: float) -> np.ndarray:
    """Count, for each class, the classes that its objects were detected as.

    In every image, detections take objects in the order of their scores: each takes the free object with the largest
    IoU, if it is 0.5 or more, of any class. Detections in crowd regions do not count.

    Returns counts (K + 1, K + 1) by true class and by detected class, in the order of the category ids. The last row is
    background (detections of nothing), the last column is missed objects.
    """
    index = {i: k for k, i in enumerate(sorted(truth.getCatIds()))}
    counts = np.zeros((len(index) + 1, len(index) + 1), dtype=np.int64)
    for image in truth.getImgIds():
        annotations = truth.imgToAnns[image]
        objects = [x for x in annotations if not x.get("iscrowd")]
        crowds = [x for x in annotations if x.get("iscrowd")]
        found = [x for x in detections.imgToAnns[image] if x["score"] >= score_threshold]
        found.sort(key=lambda x: -x["score"])
        overlaps, hidden = box_overlaps(found, objects), box_overlaps(found, crowds)
        for number, detection in enumerate(found):
            best = overlaps[number].argmax() if objects else 0
            if objects and overlaps[number, best] >= OVERLAP:
                overlaps[:, best] = -1  # taken
                counts[index[objects[best]["category_id"]], index[detection["category_id"]]] += 1
                objects[best] = {**objects[best], "taken": True}
            elif not (hidden[number] >= OVERLAP).any():
                counts[-1, index[detection["category_id"]]] += 1
        for x in objects:
            counts[index[x["category_id"]], -1] += "taken" not in x
    return counts


def box_overlaps(found: list[dict], objects: list[dict]) -> np.ndarray:
    """IoU of detections with objects, (N, M); for crowd regions, the share of the detection inside them."""
    if not found or not objects:
        return np.zeros((len(found), len(objects)))
    crowd = [int(bool(x.get("iscrowd"))) for x in objects]
    return np.asarray(iou([x["bbox"] for x in found], [x["bbox"] for x in objects], crowd))
