"""Guards the output folder of a run: no run destroys another, and no two runs use a folder at the same time."""

import fcntl
import logging
import os
import shlex
import socket
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import IO

from detectron2.utils import comm
from omegaconf import DictConfig, OmegaConf

LOCK = "run.lock"
# files and folders that a training writes, as patterns; docs/training.md lists them
RUN_FILES = (
    "config.yaml",
    "curves.png",
    "dataset",
    "dataset_evaluation",
    "evaluations.json",
    "events.out.tfevents.*",
    "inference",
    "inference_ema",
    "last_checkpoint",
    "log.txt*",
    "metrics.json",
    "model_*.pth",
    "nonfinite",
    "preview",
    "report.html",
)
# only a training leaves these; a command that failed before it does not
SIGNS = ("last_checkpoint", "metrics.json", "model_*.pth")

logger = logging.getLogger(__name__)

held: dict[str, IO[str]] = {}  # the locks of this process, by folder


def claim(folder: str, *, resume: bool, overwrite: bool, inputs: Mapping[str, str] = MappingProxyType({})) -> None:
    """Take a folder for one training: the main process locks it until `release`.

    resume: continue the training in the folder. overwrite: move an earlier run aside first, see `set_aside`.
    inputs: the files and folders that the training reads, by their settings; see `inputs_of`.

    Raises ValueError in all processes if another training is using the folder, if it holds a training and neither
    `resume` nor `overwrite` is set, or if an input would be moved.
    """
    problem = None
    if comm.is_main_process():
        try:
            lock(folder)
            if overwrite and not resume:
                set_aside(Path(folder), inputs)
            elif not resume and (error := earlier_run(folder)):
                raise error
        except ValueError as error:
            problem = str(error)
            release(folder)
    problem = comm.all_gather(problem)[0]
    if problem:
        raise ValueError(problem)


def earlier_run(folder: str) -> ValueError | None:
    """The error for a folder that holds a training; None for any other."""
    found = [path for sign in SIGNS for path in sorted(Path(folder).glob(sign))]
    found = [path.name for path in found if path.name != "metrics.json" or path.stat().st_size]  # it is opened early
    if not found:
        return None
    return ValueError(
        f"{folder} holds a training ({', '.join(found[:3])}{' ...' if found[3:] else ''}). Give another "
        "train.output_dir (in a yaml config OUTPUT_DIR), or continue that training with --resume, or start again with "
        "--overwrite, which first moves its files to a folder inside it"
    )


def lock(folder: str) -> None:
    """Lock a folder for this process. The lock ends with the process. Raises ValueError if another process has it."""
    path = Path(folder).resolve() / LOCK
    if str(path) in held:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a+")
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # data workers do not inherit it
    except (BlockingIOError, PermissionError):
        file.seek(0)
        owner = file.read().strip() or "an unknown process"
        file.close()
        raise ValueError(
            f"another training writes to {folder} ({owner}). Give another train.output_dir, or stop that training first"
        ) from None
    except OSError as error:  # some network disks have no locks
        logger.warning("%s cannot be locked (%s): make sure that no other training writes there.", folder, error)
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()} since {time.ctime()}: {shlex.join(sys.argv)}\n")
    file.flush()
    held[str(path)] = file


def release(folder: str) -> None:
    """Unlock a folder that this process has locked."""
    path = Path(folder).resolve() / LOCK
    if file := held.pop(str(path), None):
        path.unlink(missing_ok=True)
        file.close()


def inputs_of(cfg: DictConfig, config: str | os.PathLike) -> dict[str, str]:
    """The local files and folders that a training with this config reads, by the settings that name them."""
    keys = ["train.init_checkpoint", "dataset.root"]
    keys += [f"dataset.{split}.{kind}" for split in ("train", "val") for kind in ("annotations", "images")]
    found = {key: OmegaConf.select(cfg, key) for key in keys} | {"--config-file": os.fspath(config)}
    return {key: path for key, path in found.items() if isinstance(path, str) and path and os.path.exists(path)}


def set_aside(folder: Path, inputs: Mapping[str, str] = MappingProxyType({})) -> None:
    """Move all files of an earlier run into the next free folder `earlier_N` beside them. Nothing is deleted.

    Raises ValueError, before anything is moved, if one of the inputs is among them.
    """
    found = sorted({path for pattern in RUN_FILES for path in folder.glob(pattern)})
    if not found:
        return
    moved = {path.resolve() for path in found}
    for key, name in inputs.items():
        path = Path(name).resolve()
        if moved & {path, *path.parents}:
            raise ValueError(
                f"--overwrite would move {name} ({key}), which this training reads: copy it out of {folder}, or give "
                "another train.output_dir"
            )
    number = 1
    while (folder / f"earlier_{number}").exists():
        number += 1
    aside = folder / f"earlier_{number}"
    aside.mkdir()
    for path in found:
        path.rename(aside / path.name)
    logger.warning("The files of the earlier training are now in %s.", aside)
