"""Detectron2's checkpointer, able to read other people's DAB-DETR weights."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn

from .description import KEY
from .formats import to_ours

INCOMPLETE = ".incomplete"  # in the name of a checkpoint that is being written


class DABDETRCheckpointer(DetectionCheckpointer):
    """Loads our checkpoints, Detectron2's and torchvision's ImageNet backbones, and the DAB-DETR weights of the
    original code and of transformers; saves as Detectron2 does, but a kill leaves the checkpoint before as it was.

    strict: the checkpoint must fill the whole model, as evaluation needs it; else what it lacks stays as it is.
    description: what each checkpoint says of itself when it is saved, as `Description.to_dict` gives it.

    Raises ValueError for a file of which no tensor fits the model, and with `strict` for one that lacks any.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        strict: bool = False,
        description: Callable[[], dict] | None = None,
        **checkpointables: Any,
    ):
        super().__init__(model, save_dir, **checkpointables)
        self.strict, self.description = strict, description

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
