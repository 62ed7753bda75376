"""Finds the rows of a checkpoint that belong to the classes of a dataset."""

from collections.abc import Sequence

import torch
from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES
from torch import Tensor

THINGS = {category["id"]: category["name"] for category in COCO_CATEGORIES if category["isthing"]}
COCO_OUTPUTS = {
    len(THINGS): list(THINGS.values()),  # numbered as Detectron2 does
    max(THINGS) + 1: [THINGS.get(i) for i in range(max(THINGS) + 1)],  # by category id, with gaps
}
"""Class names by the number of outputs of a model trained on COCO."""


def class_rows(
    *, source: Sequence[str | None] | None, target: Sequence[str] | None, num_source: int, num_target: int
) -> list[int | None]:
    """The row in the checkpoint of each of the model's classes, None for a class that the checkpoint lacks.

    source, target: names of the checkpoint's and the model's classes, None if unknown. Classes match by name. Without
        names, the same number of classes counts as the same classes, and 80 or 91 classes are COCO's.
    """
    if source is None and num_source == num_target:
        return list(range(num_source))
    source = source or COCO_OUTPUTS.get(num_source)
    target = target or COCO_OUTPUTS.get(num_target)
    if source is None or target is None:
        return list(range(num_source)) if num_source == num_target else [None] * num_target
    rows = {normalized(name): i for i, name in enumerate(source) if name}
    return [rows.get(normalized(name)) if name else None for name in target]


def normalized(name: str) -> str:
    """A class name in a spelling that ignores case, underscores and hyphens."""
    return name.lower().replace("_", " ").replace("-", " ").strip()


def take_rows(theirs: Tensor, ours: Tensor, rows: Sequence[int | None]) -> Tensor:
    """`ours` with the rows of `theirs` for the classes that they have. The rows after the classes ("no object",
    "no label") come from `theirs`."""
    taken = ours.clone()
    kept = [(i, row) for i, row in enumerate(rows) if row is not None]
    kept += [(len(ours) - i, len(theirs) - i) for i in range(1, len(ours) - len(rows) + 1)]
    to, source = (torch.tensor(x, dtype=torch.long) for x in (list(zip(*kept, strict=True)) or [[], []]))
    taken[to.to(taken.device)] = theirs[source].to(taken)
    return taken
