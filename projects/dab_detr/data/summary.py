"""Numbers that describe a dataset."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from detectron2.structures import BoxMode


@dataclass(frozen=True, kw_only=True)
class DatasetSummary:
    """Numbers of a dataset; crowd regions do not count as objects.

    images: number of images. empty: those without objects.
    objects: number of objects by class name.
    most_objects: the number of objects in the fullest image.
    short_side, long_side: medians over the images, in pixels.
    object_sides: the 10th, 50th and 90th percentile of the square root of a box's area, in pixels; zeros without
        objects.
    """

    images: int
    empty: int
    objects: dict[str, int]
    most_objects: int
    short_side: float
    long_side: float
    object_sides: tuple[float, float, float]

    @property
    def num_objects(self) -> int:
        return sum(self.objects.values())

    @property
    def rarest(self) -> int:
        """Number of objects of the rarest class."""
        return min(self.objects.values(), default=0)


def summarize(records: Iterable[dict], names: Sequence[str]) -> DatasetSummary:
    """The summary of Detectron2's dataset dicts, whose classes have these names."""
    counts, sizes, sides, labels = [], [], [], Counter()
    for record in records:
        objects = [x for x in record.get("annotations", []) if not x.get("iscrowd")]
        counts.append(len(objects))
        sizes.append(sorted((record["height"], record["width"])))
        labels.update(x["category_id"] for x in objects)
        boxes = (BoxMode.convert(x["bbox"], x["bbox_mode"], BoxMode.XYWH_ABS) for x in objects)
        sides += [max(0.0, w * h) ** 0.5 for _, _, w, h in boxes]
    short, long = np.median(sizes, axis=0) if sizes else (0.0, 0.0)
    return DatasetSummary(
        images=len(counts),
        empty=counts.count(0),
        objects={name: labels[i] for i, name in enumerate(names)},
        most_objects=max(counts, default=0),
        short_side=float(short),
        long_side=float(long),
        object_sides=tuple(float(x) for x in np.percentile(sides, (10, 50, 90))) if sides else (0.0, 0.0, 0.0),
    )
