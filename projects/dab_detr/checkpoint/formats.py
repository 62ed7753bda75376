"""Recognizes the format of a state dict by its keys, and converts it to ours and back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor

from . import detrex, original, original_deformable, transformers
from .blocks import torchvision_resnet
from .rename import RenameTable

State = Mapping[str, Tensor]


@dataclass(frozen=True)
class Format:
    """A format of state dicts: its name, the keys that together identify it, and its rename table."""

    name: str
    keys: tuple[str, ...]
    table: Callable[[State], RenameTable]


DAB_DETR = Format(
    "the original DAB-DETR", ("refpoint_embed.weight", "transformer.decoder.norm.weight"), original.table_of_theirs
)
DEFORMABLE = Format(
    "the original (DAB-)Deformable-DETR or DINO",
    ("transformer.level_embed", "input_proj.0.0.weight"),
    original_deformable.table_of_theirs,
)
DETREX_DAB_DETR = Format("detrex' DAB-DETR", ("anchor_box_embed.weight",), detrex.table_of_theirs)
DETREX_DEFORMABLE = Format(
    "detrex' DAB-Deformable-DETR or DINO",
    ("transformer.level_embeds", "neck.convs.0.conv.weight"),
    detrex.table_of_theirs,
)
TRANSFORMERS = Format(
    "transformers' DabDetrForObjectDetection",
    ("model.query_refpoint_embeddings.weight",),
    transformers.table_of_theirs,
)
TORCHVISION = Format(
    "torchvision's ResNet",
    ("layer1.0.conv1.weight", "conv1.weight"),
    lambda state: RenameTable(torchvision_resnet("", "backbone.")),
)
FORMATS = (DAB_DETR, DEFORMABLE, DETREX_DAB_DETR, DETREX_DEFORMABLE, TRANSFORMERS, TORCHVISION)


def recognize(state: State) -> Format | None:
    """The format of a foreign state dict; None if it is ours or unknown."""
    return next((x for x in FORMATS if all(key in state for key in x.keys)), None)


def to_ours(state: State) -> tuple[dict[str, Tensor], Format | None, list[str]]:
    """The state dict under our names, its format, and the keys that no rule covers. A state dict of no known format
    stays as it is."""
    found = recognize(state)
    if found is None:
        return dict(state), None, []
    converted, unknown = found.table(state).to_ours(state)
    if "transformer.enc_out_class_embed.bias" in state and "denoising.labels" in converted:
        # the original DINO has one row more than classes, which nothing reads
        converted["denoising.labels"] = converted["denoising.labels"][: len(converted["queries.class_head.bias"])]
    # frozen batch norm has no counters, and a detector no classification layer
    return converted, found, [x for x in unknown if not x.endswith("num_batches_tracked") and not x.startswith("fc.")]


def table_to(name: str, state: State, *, torchvision_names: bool = False) -> RenameTable:
    """The table that writes our state dict in the format "original", "detrex" or "transformers".

    torchvision_names: whether the backbone gets torchvision's names, as in detrex' models with DC5.

    Raises ValueError for a model or tensor that the format does not have.
    """
    tables = {}
    if "encoder.position_scale.0.weight" in state and "queries.centre" in state:
        tables = {
            "original": lambda: original.table_of_ours(state),
            "detrex": lambda: detrex.table_of_ours(state, torchvision_names),
            "transformers": transformers.dab_detr_table,
        }
    elif "neck.level_embed" in state:
        tables = {
            "original": lambda: original_deformable.table_of_ours(state),
            "detrex": lambda: detrex.table_of_ours(state),
        }
    if name not in tables:
        known = f"convert it to {' or '.join(tables)}" if tables else "only DAB-DETR and Deformable models convert"
        raise ValueError(f"{name} has no such model: {known}")
    table = tables[name]()
    unknown = [key for key in table.to_theirs(state)[1] if not key.endswith("num_batches_tracked")]
    if unknown:
        raise ValueError(f"{name} has no place for {', '.join(unknown[:5])}{' ...' if unknown[5:] else ''}")
    return table
