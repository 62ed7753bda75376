"""Detections as a file in COCO format."""

import json
import os
from collections.abc import Sequence

from detectron2.utils.file_io import PathManager

from .detections import Detections


class CocoFile:
    """Collects detections: `images`, `annotations` with `score`, and `categories`.

    It opens as a dataset wherever COCO's annotations do; its `annotations` are what COCO calls results.

    category_ids: of the classes, as in the dataset; by default 1, 2, 3 and so on.
    """

    def __init__(self, *, class_names: Sequence[str], category_ids: Sequence[int] | None = None):
        self.ids = list(category_ids or range(1, len(class_names) + 1))
        self.content = {
            "images": [],
            "annotations": [],
            "categories": [{"id": i, "name": name} for i, name in zip(self.ids, class_names, strict=True)],
        }

    def add(self, detections: Detections) -> None:
        """One image more; its id is its number, from 1."""
        images, annotations = self.content["images"], self.content["annotations"]
        height, width = detections.image.shape[:2]
        images.append({"id": len(images) + 1, "file_name": detections.name, "height": height, "width": width})
        found = detections.instances
        for (left, top, right, bottom), score, label in zip(
            found.pred_boxes.tensor.tolist(), found.scores.tolist(), found.pred_classes.tolist(), strict=True
        ):
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": len(images),
                    "category_id": self.ids[label],
                    "bbox": [left, top, right - left, bottom - top],
                    "area": (right - left) * (bottom - top),
                    "iscrowd": 0,
                    "score": score,
                }
            )

    def save(self, path: str | os.PathLike) -> None:
        with PathManager.open(os.fspath(path), "w") as file:
            json.dump(self.content, file)
