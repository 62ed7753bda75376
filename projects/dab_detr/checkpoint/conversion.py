"""Writes our weights in the formats of other code."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from omegaconf import DictConfig
from torch import Tensor

from .classes import COCO_OUTPUTS, class_rows, take_rows
from .fitting import CLASS_BOXES, CLASS_TENSORS, TRAINING_ONLY
from .formats import table_to
from .integrity import CHECKSUM, checksum
from .transformers_config import detection_config, image_processor_config
from .writing import WRITER, atomic_write

FORMATS = ("dab_detr", "original", "detrex", "transformers")


def num_classes_of(state: Mapping[str, Tensor]) -> int:
    """Number of outputs of the class head of our state dict. Raises ValueError if it has no class head."""
    if "decoder.class_heads.0.weight" not in state:
        raise ValueError("the checkpoint has no class head: a backbone alone cannot be converted")
    return len(state["decoder.class_heads.0.weight"])


def with_classes(state: Mapping[str, Tensor], num_classes: int) -> dict[str, Tensor]:
    """Convert our state dict of a COCO model from 91 to 80 classes, or from 80 to 91. The rows of missing classes get
    zero weights, and the bias of a probability of 0.01."""
    num_source = num_classes_of(state)
    if not {num_source, num_classes} <= COCO_OUTPUTS.keys():
        raise ValueError(
            f"only COCO's 80 and 91 classes can be converted into each other, not {num_source} and {num_classes}"
        )
    rows = class_rows(source=None, target=None, num_source=num_source, num_target=num_classes)
    converted = dict(state)
    for name, tensor in state.items():
        if CLASS_TENSORS.fullmatch(name):
            prior = -math.log(99) if name.endswith("bias") else 0.0
            blank = tensor.new_full((num_classes + len(tensor) - num_source, *tensor.shape[1:]), prior)
            converted[name] = take_rows(tensor, blank, rows)
        elif CLASS_BOXES.fullmatch(name):
            by_class = tensor.unflatten(0, (num_source, 4))
            blank = by_class.new_zeros(num_classes, *by_class.shape[1:])
            converted[name] = take_rows(by_class, blank, rows).flatten(0, 1)
    return converted


def for_inference(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our state dict without the tensors that only training needs."""
    return {name: tensor for name, tensor in state.items() if not name.startswith(TRAINING_ONLY)}


def write(
    state: Mapping[str, Tensor],
    out: Path,
    *,
    to: str,
    model: DictConfig | None = None,
    augmentations: Sequence[DictConfig] = (),
    class_names: Sequence[str | None] | None = None,
    torchvision_names: bool = False,
    further: Mapping[str, Any] | None = None,
) -> int:
    """Write our state dict to the file `out`, or for transformers to the folder `out`.

    to: one of FORMATS.
    model, augmentations, class_names: for transformers: the model's node, the nodes of its augmentations at test time,
        and names by output.
    torchvision_names: whether the backbone gets torchvision's names, as in detrex' models with DC5.
    further: more entries for the file, in this project's own format.

    Returns the number of tensors. Raises ValueError for a model that the other code cannot build.
    """
    if to == "dab_detr":
        names = {"class_names": class_names} if class_names else {}
        save(out, {"model": dict(state), **names, **(further or {})})
        return len(state)
    if len(for_inference(state)) < len(state):
        raise ValueError(f"{to} has no auxiliary heads: leave them out with --deploy, only training needs them")
    converted, _ = table_to(to, state, torchvision_names=torchvision_names).to_theirs(state)
    if to != "transformers":
        save(out, {"model": converted, WRITER: True})
        return len(converted)
    names = class_names or COCO_OUTPUTS.get(num_classes_of(state))
    names = names or [f"LABEL_{i}" for i in range(num_classes_of(state))]
    write_transformers(converted, out, model, augmentations, names)
    return len(converted)


def write_transformers(
    state: Mapping[str, Tensor],
    out: Path,
    model: DictConfig | None,
    augmentations: Sequence[DictConfig],
    names: Sequence[str | None],
) -> None:
    """Write the folder of a model with the state dict `state`, which has transformers' names; arguments as in `write`.

    Raises ValueError for a model that transformers does not have, and without a model.
    """
    if model is None:
        raise ValueError(
            "transformers needs the model's config, which this checkpoint does not have: give --config-file"
        )
    try:
        configs = {
            "config.json": detection_config(model, names),
            "preprocessor_config.json": image_processor_config(model, augmentations),
        }
        files = {name: json.dumps(config, indent=2) for name, config in configs.items()}
    except (AttributeError, LookupError, TypeError) as error:  # the config was edited or damaged
        cause = str(error).partition("\n")[0]
        raise ValueError(
            f"the model's config lacks a setting that transformers needs ({cause}): give another with --config-file"
        ) from error
    out.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (out / name).write_text(text)
    # safetensors does not allow one tensor under several keys
    tensors = {key: tensor.clone().contiguous() for key, tensor in state.items()}
    metadata = {"format": "pt", CHECKSUM: checksum(tensors)}
    safetensors.torch.save_file(tensors, out / "model.safetensors", metadata=metadata)


def save(out: Path, content: dict[str, Any]) -> None:
    """Write a file with torch.save; make its folder if needed."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(out) as file:
        torch.save(content, file)
