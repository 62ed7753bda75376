"""Detectron2's checkpointer, which also reads DAB-DETR weights of other code."""

import logging
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts
from detectron2.utils.file_io import PathManager
from torch import nn

from .description import KEY, Description
from .family import check_family
from .finite import check_finite
from .fitting import Fit
from .formats import to_ours
from .reading import read, weights_file
from .resumable import newest, states, tagged
from .sources import local_weights
from .writing import WRITER, atomic_write

logger = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """A checkpoint cannot be read or does not fit the model; the user can set it right."""


class DABDETRCheckpointer(DetectionCheckpointer):
    """Loads our checkpoints, Detectron2's and torchvision's ImageNet backbones, and the weights of the formats in
    `formats`. Saves as Detectron2 does, except that a kill during a save leaves the earlier checkpoint as it was.

    A load leaves a `LoadReport` in `report`, and in the log.

    class_names: names of the model's classes, which find their rows in the checkpoint's class heads.
    strict: the checkpoint must fill everything that the model needs at inference. Evaluation needs this.
    partial: tensors that do not fit the model start from scratch. Otherwise only classes may differ.
    description: returns the result of `Description.to_dict` for a checkpoint that is about to be saved.

    Raises CheckpointError for a file that cannot be read or does not fill the model.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        class_names: Sequence[str] | None = None,
        strict: bool = False,
        partial: bool = False,
        description: Callable[[], dict] | None = None,
        **checkpointables: Any,
    ):
        super().__init__(model, save_dir, **checkpointables)
        self.fit = Fit(self.model.num_classes, class_names, strict=strict, partial=partial, inference=strict)
        self.report, self.description = None, description
        self.beside: tuple[str, ...] = ()  # what the current load reads beside the model

    def save(self, name: str, *, last: bool = True, **kwargs: Any) -> None:
        """Write `name`.pth with the model, the checkpointables and `kwargs`, whole or not at all.

        last: whether it becomes the checkpoint to resume from.

        Raises OSError if it cannot be written, for example on a full disk, and FloatingPointError for numbers that are
        infinite or NaN. All earlier checkpoints are still there.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        parts = {"model": self.model, **self.checkpointables}
        about = {KEY: self.description()} if self.description else {}
        content = {**{key: part.state_dict() for key, part in parts.items()}, **about, **kwargs}
        path = Path(self.save_dir, f"{name}.pth")
        check_finite(content, str(path))
        self.logger.info("Saving checkpoint to %s", path)
        try:
            with atomic_write(path) as file:
                torch.save(content, file)
            if last:
                self.tag_last_checkpoint(path.name)
        except (OSError, RuntimeError) as error:
            cause = (
                error.__context__ if isinstance(error, RuntimeError) else error
            )  # torch raises its own error instead
            if not isinstance(cause, OSError):
                raise
            raise self.unwritable(path, cause) from error

    def unwritable(self, path: Path, cause: OSError) -> OSError:
        """The error for a checkpoint that could not be written: it says how to make room."""
        free = shutil.disk_usage(self.save_dir).free // 2**20
        return OSError(
            cause.errno,
            f"the checkpoint {path} could not be written ({cause.strerror}, {free} MiB are free there); "
            f"{self.get_checkpoint_file() or 'no checkpoint'} remains to resume from. Make room, or set "
            "train.checkpointer.max_to_keep lower or train.output_dir to another disk",
        )

    def describe(self, name: str) -> None:
        """Update the description in a saved checkpoint, in one step. The rest of the checkpoint stays."""
        path = Path(self.save_dir, f"{name}.pth")
        if not path.is_file():
            return
        content = torch.load(path, map_location="cpu") | {KEY: self.description()}
        with atomic_write(path) as file:
            torch.save(content, file)

    def for_weights_of(self, model: nn.Module) -> "DABDETRCheckpointer":
        """A checkpointer for the weights of another model alone, with the same folder and description."""
        return DABDETRCheckpointer(model, self.save_dir, description=self.description)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        with atomic_write(Path(self.save_dir, "last_checkpoint")) as file:
            file.write(last_filename_basename.encode())

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load as Detectron2 does. The path may also be anything else that `local_weights` takes."""
        if not path and self.fit.strict:
            logger.warning("No checkpoint to load: this evaluates random weights.")
        try:
            file = weights_file(local_weights(path)) if path else path
            if path and not PathManager.isfile(file):
                raise ValueError(f"{path}: there is no such file")
            whole = (args[0] if args else kwargs.get("checkpointables")) is None
            self.beside = tuple(self.checkpointables) if whole else ()
            return super().load(file, *args, **kwargs)
        except Exception as error:  # keys and shapes of mixed formats can raise anything
            raise unfit(path, error) from error

    def load_content(self, content: Mapping[str, Any], path: str) -> None:
        """Load weights from the result of `reading.read` for the file at `path`. Raises CheckpointError, naming the
        file."""
        try:
            self._load_model(dict(content))
        except Exception as error:  # as in `load`
            raise unfit(path, error) from error

    def has_checkpoint(self) -> bool:
        """Whether the folder has a checkpoint of a training, whole or not."""
        last = tagged(self.save_dir)
        return bool(states(self.save_dir)) or last is not None and last.is_file()

    def get_checkpoint_file(self) -> str:
        """The checkpoint to resume from, see `resumable.newest`; an empty string if there is none."""
        return str(newest(self.save_dir) or "")

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Resume or load as Detectron2 does. A checkpoint to resume from must fill the whole model."""
        if resume and self.has_checkpoint():
            self.fit = replace(self.fit, strict=True, inference=False)
        return super().resume_or_load(path, resume=resume)

    def _load_file(self, filename: str) -> dict[str, Any]:
        return read(filename)

    def _load_model(self, checkpoint: dict[str, Any]):
        state, model, unknown = checkpoint.pop("model"), self.model.state_dict(), []
        if checkpoint.pop("matching_heuristics", False):
            caffe2 = checkpoint.get("__author__") == "Caffe2"
            state = align_and_update_state_dicts(model, state, c2_conversion=caffe2)
        else:
            state, found, unknown = to_ours(state)
            if found:
                logger.info("The checkpoint has the format of %s", found.name)
            if found and not self.fit.partial and not checkpoint.get(WRITER):
                check_family(found, state, self.model, inference=self.fit.inference)
        names = Description.from_dict(checkpoint[KEY]).class_names if KEY in checkpoint else None
        self.check_order(names, checkpoint)
        state, self.report = self.fit(state, model, names or checkpoint.get("class_names"), unknown)
        logger.info("What happened to the weights:\n%s", self.report)
        return super()._load_model({"model": state})

    def check_order(self, names: Sequence[str] | None, checkpoint: Mapping[str, Any]) -> None:
        """Raise ValueError if classes have another order than in the optimizer or the moving average to be loaded.

        Rows of the model's own class heads are found by their names; those of these states are not.
        """
        read = [key for key in self.beside if key in checkpoint]
        wanted = self.fit.class_names
        if read and names and wanted and list(names) != list(wanted) and set(names) == set(wanted):
            raise ValueError(
                f"its classes have another order than those of the data ({', '.join(names[:3])} ... and "
                f"{', '.join(wanted[:3])} ...), which {' and '.join(read)} cannot follow: give the categories their "
                "earlier order, or start a new training from these weights with train.init_checkpoint"
            )

    def _log_incompatible_keys(self, incompatible) -> None:
        """Log nothing: the report is complete."""


def unfit(path: str, error: Exception) -> CheckpointError:
    """The error for a checkpoint that cannot be loaded, in a line that names the file."""
    text = str(error)
    if not isinstance(error, ValueError | AssertionError | OSError):
        text = f"its tensors do not fit together ({type(error).__name__}: {text.partition(chr(10))[0]})"
    return CheckpointError(text if str(path) in text else f"{path}: {text}")
