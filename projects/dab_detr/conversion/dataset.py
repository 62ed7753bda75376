"""Makes a dataset to train on from a folder with labels in any known format."""

import os
from collections.abc import Callable
from pathlib import Path

from .convert import convert
from .damage import shown
from .recognition import recognize
from .report import Output

VAL_FRACTION = 0.2  # the fraction of train that becomes val in datasets without val


def dataset_from_folder(
    root: str | os.PathLike,
    output: str | os.PathLike,
    *,
    val_fraction: float = VAL_FRACTION,
    seed: int = 0,
    tell: Callable[[str], None] = print,
) -> dict[str, Output]:
    """Convert a dataset into a folder. Returns train and val, each with its annotation file and image folder.

    root: the folder of a dataset, as `recognize` takes it; it is not changed.
    output: a folder for the annotation files. Only this function writes to it, and a second call replaces the files.
    val_fraction: the fraction of the training pictures that becomes val, if the dataset has no val. The same pictures
        and the same seed give the same val.
    tell: a function for the lines about what was understood and done.

    Raises ValueError, in one line, if the folder is not a dataset, is damaged, or has no training set.
    """
    layout = recognize(root)
    names = {split.name for split in layout.splits}
    if "train" not in names:
        raise ValueError(f"{shown(root)} has no training set, only {', '.join(sorted(names))}")
    fraction = None if "val" in names else val_fraction
    report = convert(layout, Path(output), val_fraction=fraction, seed=seed, overwrite=True)
    for line in report.lines():
        tell(line)
    if fraction is not None:
        val = report.outputs["val"]
        tell(f"val was split off: {val.num_images} pictures, listed in {shown(val.annotations)} (seed {seed})")
    return {name: report.outputs[name] for name in ("train", "val") if name in report.outputs}
