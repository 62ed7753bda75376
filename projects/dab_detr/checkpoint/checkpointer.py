"""Detectron2's checkpointer, able to read other people's DAB-DETR weights."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.checkpoint.c2_model_loading import align_and_update_state_dicts
from torch import nn

from .description import KEY, Description
from .fitting import Fit
from .formats import to_ours
from .reading import read, weights_file

INCOMPLETE = ".incomplete"  # in the name of a checkpoint that is being written

logger = logging.getLogger(__name__)


class CheckpointError(ValueError):
    """A checkpoint that cannot be read, or does not fit the model: for the user to set right."""


class DABDETRCheckpointer(DetectionCheckpointer):
    """Loads our checkpoints, Detectron2's and torchvision's ImageNet backbones, and the DAB-DETR weights of the
    original code, of detrex and of transformers; saves as Detectron2 does, but a kill leaves the checkpoint before as
    it was.

    What a load keeps is told in a `LoadReport`, as `report` and in the log.

    class_names: of the model's classes, by which rows of the checkpoint's class heads are found.
    strict: the checkpoint must fill the whole model, as evaluation needs it.
    partial: whatever of it does not fit the model starts anew; else only classes may differ.
    description: what each checkpoint says of itself when it is saved, as `Description.to_dict` gives it.

    Raises CheckpointError for a file that cannot be read, or that does not fill what it should.
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
        self.fit = Fit(self.model.num_classes, class_names, strict=strict, partial=partial)
        self.report, self.description = None, description

    def save(self, name: str, **kwargs: Any) -> None:
        if self.description:
            kwargs[KEY] = self.description()
        super().save(f"{name}{INCOMPLETE}", **kwargs)

    def describe(self, name: str) -> None:
        """Bring the description in a checkpoint that was saved up to date, in one step; all else in it stays."""
        path = Path(self.save_dir, f"{name}.pth")
        if not path.is_file():
            return
        new = path.with_suffix(".new")
        torch.save(torch.load(path, map_location="cpu") | {KEY: self.description()}, new)
        new.replace(path)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """What follows when a checkpoint is written: it gets its name and becomes the one to resume from, each in one
        step."""
        name = last_filename_basename.replace(INCOMPLETE, "")
        Path(self.save_dir, last_filename_basename).replace(Path(self.save_dir, name))
        new = Path(self.save_dir, "last_checkpoint.new")
        new.write_text(name)
        new.replace(new.with_suffix(""))

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """As Detectron2's; the path may also be a folder that transformers has written."""
        try:
            return super().load(weights_file(path) if path else path, *args, **kwargs)
        except (ValueError, AssertionError, OSError) as error:
            raise CheckpointError(str(error) if str(path) in str(error) else f"{path}: {error}") from error

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """As Detectron2's. A checkpoint to resume from must be one of the same model."""
        if resume and self.has_checkpoint():
            self.fit = replace(self.fit, strict=True)
        return super().resume_or_load(path, resume=resume)

    def _load_file(self, filename: str) -> dict[str, Any]:
        return read(filename)

    def _load_model(self, checkpoint: dict[str, Any]):
        state, model = checkpoint.pop("model"), self.model.state_dict()
        if checkpoint.pop("matching_heuristics", False):
            caffe2 = checkpoint.get("__author__") == "Caffe2"
            state = align_and_update_state_dicts(model, state, c2_conversion=caffe2)
        else:
            state, found, unknown = to_ours(state)
            if found:
                logger.info("The checkpoint is one of %s", found.name)
            if unknown:
                logger.warning("Left over, for no rule knows them: %s", ", ".join(unknown))
        names = Description.from_dict(checkpoint[KEY]).class_names if KEY in checkpoint else None
        state, self.report = self.fit(state, model, names or checkpoint.get("class_names"))
        logger.info("What became of the weights:\n%s", self.report)
        return super()._load_model({"model": state})

    def _log_incompatible_keys(self, incompatible) -> None:
        """Nothing more to tell: the report is complete."""
