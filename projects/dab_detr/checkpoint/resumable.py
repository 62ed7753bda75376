"""Finds the checkpoint to resume from: the last one, or the newest that is intact."""

import logging
import re
import zipfile
from pathlib import Path

import torch

from .integrity import check_zip

# Checkpoints with the state of the training. model_best and model_final_ema have only weights.
STATES = re.compile(r"model_(\d{7}|final)\.pth")

logger = logging.getLogger(__name__)


def states(folder: str | Path) -> list[Path]:
    """The checkpoints in a folder with the state of a training, intact or not, sorted by name."""
    folder = Path(folder)
    return sorted(x for x in folder.iterdir() if STATES.fullmatch(x.name)) if folder.is_dir() else []


def tagged(folder: str | Path) -> Path | None:
    """The checkpoint that the file `last_checkpoint` names, whether it exists or not; None without that file."""
    try:
        return Path(folder, Path(folder, "last_checkpoint").read_text().strip())
    except (OSError, ValueError):
        return None


def newest(folder: str | Path) -> Path | None:
    """The checkpoint to resume from; None for a folder without checkpoints.

    It is the one that `last_checkpoint` names. If that one is missing or damaged, it is the intact one with the most
    iterations, and a warning says so.

    Raises ValueError if there are checkpoints and none is intact.
    """
    last, found = tagged(folder), states(folder)
    if last and is_whole(last):
        return last
    if not found:
        return None
    whole = {path: iterations(path) for path in found if is_whole(path)}
    if not whole:
        names = ", ".join(x.name for x in found)
        raise ValueError(
            f"{folder} has checkpoints, but none of them can be read: {names}. Restore one, or start again with "
            "--overwrite"
        )
    best = max(whole, key=whole.get)
    why = f"{last.name} is {'damaged' if last.exists() else 'missing'}" if last else "last_checkpoint is missing"
    logger.warning("%s: %s. The newest intact one is %s, after %d iterations.", folder, why, best.name, whole[best])
    return best


def is_whole(path: Path) -> bool:
    """Whether a checkpoint exists and is intact."""
    try:
        check_zip(path)
    except (ValueError, OSError, zipfile.BadZipFile):
        return False
    return True


def iterations(path: Path) -> int:
    """The number of iterations before a checkpoint was saved; 0 if the file does not say."""
    return int(torch.load(path, map_location="cpu", mmap=True).get("iteration", -1)) + 1
