"""COCO's evaluation of boxes by pycocotools, for any ids, any limit of detections and any bounds of areas."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

AREAS = ("all", "small", "medium", "large")
LARGEST = 1e5  # pixels per side, as in pycocotools


class BoxEval(COCOeval):
    """The official evaluation. Its `stats` and printed table are also right for limits other than 100.

    truth, detections: results of pycocotools' `COCO` and of its `loadRes`.
    max_detections: the number of an image's best detections that count.
    area_sides: roots of the areas, in pixels, at which small objects end and large ones begin.
    """

    def __init__(self, truth: COCO, detections: COCO, *, max_detections: int, area_sides: Sequence[float]):
        super().__init__(truth, detections, "bbox")
        small, large = area_sides
        sides = [(0, LARGEST), (0, small), (small, large), (large, LARGEST)]
        self.params.areaRng = [[low**2, high**2] for low, high in sides]
        self.params.areaRngLbl = list(AREAS)
        self.params.maxDets = [1, min(10, max_detections), max_detections]

    def run(self) -> "BoxEval":
        """Evaluate, accumulate and summarize."""
        self.evaluate()
        self.accumulate()
        self.summarize()
        return self

    def summarize(self) -> None:
        """Print the means and put them into `stats`, in the order of pycocotools: 6 of precision, 6 of recall."""
        rows = [("precision", None, "all", 2), ("precision", 0.5, "all", 2), ("precision", 0.75, "all", 2)]
        rows += [("precision", None, area, 2) for area in AREAS[1:]]
        rows += [("recall", None, "all", limit) for limit in range(3)]
        rows += [("recall", None, area, 2) for area in AREAS[1:]]
        self.stats = np.array([self._mean(*row) for row in rows])
        for (measure, iou, area, limit), mean in zip(rows, self.stats, strict=True):
            iou, limit = "0.50:0.95" if iou is None else f"{iou:.2f}", self.params.maxDets[limit]
            print(f" Average {measure:9} @[ IoU={iou:9} | area={area:>6} | maxDets={limit:>3} ] = {mean:.3f}")

    def _mean(self, measure: str, iou: float | None, area: str, limit: int) -> float:
        """Mean over the classes (and the overlaps, if `iou` is None); -1 if there are no values."""
        overlaps = slice(None) if iou is None else np.isclose(self.params.iouThrs, iou)
        values = self.eval[measure][overlaps][..., AREAS.index(area), limit]
        values = values[values > -1]
        return float(values.mean()) if values.size else -1.0


def numbered(truth: COCO, detections: list[dict]) -> tuple[COCO, list[dict], dict[Any, int]]:
    """Copies of ground truth and detections whose images and annotations are numbered from 1.

    pycocotools reads the annotation id 0 as "no match", keeps one of several annotations with the same id, and sorts
    ids as NumPy arrays. With our own numbers, the metrics do not depend on the ids of a file.

    Returns the ground truth, the detections, and the new number of each image by its id.
    """
    number_of = {image["id"]: number for number, image in enumerate(truth.dataset["images"], 1)}
    annotations = [x for x in truth.dataset["annotations"] if x["image_id"] in number_of]
    copied = COCO()
    copied.dataset = {
        "categories": truth.dataset["categories"],
        "images": [{**x, "id": number_of[x["id"]]} for x in truth.dataset["images"]],
        "annotations": [
            {**x, "id": number, "image_id": number_of[x["image_id"]]} for number, x in enumerate(annotations, 1)
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        copied.createIndex()
    return copied, [{**x, "image_id": number_of[x["image_id"]]} for x in detections], number_of
