"""Detectron2's checkpointer, able to read other people's DAB-DETR weights."""

import argparse
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from .formats import to_ours


@contextmanager
def written_whole(path: Path) -> Iterator[BinaryIO]:
    """A file to write, which takes the place of `path` in one step when all of it is on the disk.

    A kill leaves `path` as it was, and a file with the suffix `.incomplete` that the next to write it replaces.
    """
    incomplete = path.with_name(f"{path.name}.incomplete")
    try:
        with incomplete.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        incomplete.replace(path)
    except BaseException:
        incomplete.unlink(missing_ok=True)
        raise


class DABDETRCheckpointer(DetectionCheckpointer):
    """Loads our checkpoints, Detectron2's and torchvision's ImageNet backbones, and the DAB-DETR weights of the
    original code and of transformers; saves as Detectron2 does, but a kill leaves the checkpoint before as it was.

    strict: the checkpoint must fill the whole model, as evaluation needs it; else what it lacks stays as it is.

    Raises ValueError for a file of which no tensor fits the model, and with `strict` for one that lacks any.
    """

    def __init__(self, model: nn.Module, save_dir: str = "", *, strict: bool = False, **checkpointables: Any):
        super().__init__(model, save_dir, **checkpointables)
        self.strict = strict

    def save(self, name: str, *, last: bool = True, **kwargs: Any) -> None:
        """Write `name`.pth with the model, the checkpointables and `kwargs`, whole or not at all.

        last: whether it becomes the checkpoint to resume from.

        Raises OSError where it cannot be written, on a full disk for one; all that was there before is still there.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        parts = {"model": self.model, **self.checkpointables}
        content = {**{key: part.state_dict() for key, part in parts.items()}, **kwargs}
        path = Path(self.save_dir, f"{name}.pth")
        self.logger.info("Saving checkpoint to %s", path)
        try:
            with written_whole(path) as file:
                torch.save(content, file)
            if last:
                self.tag_last_checkpoint(path.name)
        except (OSError, RuntimeError) as error:
            cause = error.__context__ if isinstance(error, RuntimeError) else error  # torch hides it behind its own
            if not isinstance(cause, OSError):
                raise
            raise self._not_written(path, cause) from error

    def _not_written(self, path: Path, cause: OSError) -> OSError:
        free = shutil.disk_usage(self.save_dir).free // 2**20
        return OSError(
            cause.errno,
            f"the checkpoint {path} could not be written ({cause.strerror}, {free} MiB are free there); "
            f"{self.get_checkpoint_file() or 'no checkpoint'} remains to resume from. Make room, or set "
            "train.checkpointer.max_to_keep lower or train.output_dir to another disk",
        )

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        with written_whole(Path(self.save_dir, "last_checkpoint")) as file:
            file.write(last_filename_basename.encode())

    def _load_file(self, filename: str) -> dict[str, Any]:
        # files of the original carry their command line beside the weights; nothing else is unpickled
        with torch.serialization.safe_globals([argparse.Namespace]):
            loaded = super()._load_file(filename)
        if not loaded.get("matching_heuristics", False):
            loaded["model"] = dict(to_ours(loaded["model"]))
        return loaded

    def _load_model(self, checkpoint: dict[str, Any]):
        given = list(checkpoint["model"])
        incompatible = super()._load_model(checkpoint)
        unfit = len(incompatible.unexpected_keys) + len(incompatible.incorrect_shapes)
        if given and unfit >= len(given):
            raise ValueError(
                f"nothing in the checkpoint fits the model: it has {given[:3]} ..., "
                f"the model wants {list(self.model.state_dict())[:3]} ... Is train.init_checkpoint the right file?"
            )
        lacking = [f"{key} {theirs} instead of {ours}" for key, theirs, ours in incompatible.incorrect_shapes]
        lacking += [f"{key} missing" for key in incompatible.missing_keys]
        if self.strict and lacking:
            raise ValueError(
                f"the checkpoint does not fill the model, {len(lacking)} tensors lack, e.g. {'; '.join(lacking[:4])}. "
                "Is it of another model, or of data with other classes (model.num_classes)?"
            )
        return incompatible
