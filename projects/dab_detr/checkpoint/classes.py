"""Which classes a checkpoint knows, and which of its rows are those of a dataset."""

from collections.abc import Sequence

import torch
from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES
from torch import Tensor

THINGS = {category["id"]: category["name"] for category in COCO_CATEGORIES if category["isthing"]}
COCO_OUTPUTS = {
    len(THINGS): list(THINGS.values()),  # numbered as Detectron2 does
    max(THINGS) + 1: [THINGS.get(i) for i in range(max(THINGS) + 1)],  # by category id, with gaps
}
"""Class names by the number of outputs of models that were trained on COCO."""


def class_rows(
    *, source: Sequence[str | None] | None, target: Sequence[str] | None, num_source: int, num_target: int
) -> list[int | None]:
    """For each of the model's classes the row that it has in the checkpoint, None where it has none.

    source, target: names of the checkpoint's and the model's classes, None where they are not known. Classes are
        the same by their names. Without names, equally many classes are taken for the same; 80 and 91 classes are
        COCO's.
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
    """Spellings of one name as one."""
    return name.lower().replace("_", " ").replace("-", " ").strip()


def take_rows(theirs: Tensor, ours: Tensor, rows: Sequence[int | None]) -> Tensor:
    """`ours` with the rows of `theirs` where they have the class. What follows the classes ("no object", "no label")
    is theirs."""
    taken = ours.clone()
    kept = [(i, row) for i, row in enumerate(rows) if row is not None]
    kept += [(len(ours) - i, len(theirs) - i) for i in range(1, len(ours) - len(rows) + 1)]
    to, source = (torch.tensor(x, dtype=torch.long) for x in (list(zip(*kept, strict=True)) or [[], []]))
    taken[to.to(taken.device)] = theirs[source].to(taken)
    return taken
