"""Detectron2's checkpointer, able to read other people's DAB-DETR weights."""

import argparse
from pathlib import Path
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer

from .formats import to_ours


class DABDETRCheckpointer(DetectionCheckpointer):
    """Loads our checkpoints, Detectron2's and torchvision's ImageNet backbones, and the DAB-DETR weights of the
    original code and of transformers; saves as Detectron2 does.

    Raises ValueError for a file of which no tensor fits the model.
    """

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Name the checkpoint to resume from, in one step: a kill leaves the one before, not an empty file."""
        new = Path(self.save_dir, "last_checkpoint.new")
        new.write_text(last_filename_basename)
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
        return incompatible
