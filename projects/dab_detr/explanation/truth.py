"""The annotated objects of pictures."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The objects of one picture: labels (N,), indices of class names, and boxes (N, 4), xyxy in pixels."""

    labels: np.ndarray
    boxes: np.ndarray


class Annotations:
    """The objects of many pictures, from an annotation file in COCO format. Crowd regions are left out.

    Raises ValueError for a file that is not in COCO format, and for categories that the model lacks.
    """

    def __init__(self, file: str | os.PathLike, class_names: Sequence[str]):
        self.file = os.fspath(file)
        try:
            content = json.loads(Path(file).expanduser().read_text(encoding="utf-8-sig"))
            categories = {x["id"]: x["name"] for x in content["categories"]}
            names = {x["id"]: x["file_name"] for x in content["images"]}
            objects = [(x["image_id"], x["category_id"], x["bbox"], x.get("iscrowd")) for x in content["annotations"]]
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self.file} is not an annotation file in COCO format: {error!r}") from None
        used = {categories.get(category) for _, category, _, _ in objects}
        if unknown := sorted(map(str, used - set(class_names))):
            raise ValueError(f"{self.file} has objects of {unknown}, but the model's classes are {list(class_names)}")
        found: dict[str, list] = {name: [] for name in names.values()}
        for image, category, (x, y, width, height), crowd in objects:
            if image in names and not crowd:
                label = list(class_names).index(categories[category])
                found[names[image]].append((label, x, y, x + width, y + height))
        self.objects = {PurePath(name.replace("\\", "/")).parts: rows for name, rows in found.items()}

    def of(self, picture: str) -> Truth:
        """The objects of a picture, found by the end of its path. Raises ValueError if the file lacks it."""
        parts = PurePath(picture.replace("\\", "/")).parts
        for start in range(len(parts)):
            if parts[start:] in self.objects:
                rows = np.array(self.objects[parts[start:]], dtype=float).reshape(-1, 5)
                return Truth(labels=rows[:, 0].astype(int), boxes=rows[:, 1:])
        raise ValueError(f"{self.file} has no picture {picture}; it has {'/'.join(next(iter(self.objects), ()))}, ...")
