"""COCO's evaluation of boxes by pycocotools, for any limit of detections and any bounds of areas."""

from collections.abc import Sequence

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

_AREAS = ("all", "small", "medium", "large")
_LARGEST = 1e5  # pixels a side, as in pycocotools


class BoxEval(COCOeval):
    """The official evaluation, but that `stats` and the printed table hold for other limits than 100 too.

    truth, detections: what pycocotools' COCO has read, and its `loadRes` of that.
    max_detections: the best so many of an image count.
    area_sides: roots of the areas, in pixels, at which small objects end and large ones begin.
    """

    def __init__(self, truth: COCO, detections: COCO, *, max_detections: int, area_sides: Sequence[float]):
        super().__init__(truth, detections, "bbox")
        small, large = area_sides
        sides = [(0, _LARGEST), (0, small), (small, large), (large, _LARGEST)]
        self.params.areaRng = [[low**2, high**2] for low, high in sides]
        self.params.areaRngLbl = list(_AREAS)
        self.params.maxDets = [1, min(10, max_detections), max_detections]

    def run(self) -> "BoxEval":
        """Evaluate, accumulate and summarise."""
        self.evaluate()
        self.accumulate()
        self.summarize()
        return self

    def summarize(self) -> None:
        """Print the means and put them into `stats`, in the order of pycocotools: 6 of precision, 6 of recall."""
        rows = [("precision", None, "all", 2), ("precision", 0.5, "all", 2), ("precision", 0.75, "all", 2)]
        rows += [("precision", None, area, 2) for area in _AREAS[1:]]
        rows += [("recall", None, "all", limit) for limit in range(3)]
        rows += [("recall", None, area, 2) for area in _AREAS[1:]]
        self.stats = np.array([self._mean(*row) for row in rows])
        for (measure, iou, area, limit), mean in zip(rows, self.stats, strict=True):
            iou, limit = "0.50:0.95" if iou is None else f"{iou:.2f}", self.params.maxDets[limit]
            print(f" Average {measure:9} @[ IoU={iou:9} | area={area:>6} | maxDets={limit:>3} ] = {mean:.3f}")

    def _mean(self, measure: str, iou: float | None, area: str, limit: int) -> float:
        """Mean over the classes (and the overlaps, if `iou` is None); -1 where there is nothing to take it of."""
        overlaps = slice(None) if iou is None else np.isclose(self.params.iouThrs, iou)
        values = self.eval[measure][overlaps][..., _AREAS.index(area), limit]
        values = values[values > -1]
        return float(values.mean()) if values.size else -1.0
