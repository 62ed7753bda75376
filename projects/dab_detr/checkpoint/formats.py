"""Recognizes the format of a state dict by its keys, and converts it to ours and back."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from torch import Tensor

from . import codetr, detrex, original, original_deformable, transformers
from .blocks import torchvision_resnet
from .rename import RenameTable

State = Mapping[str, Tensor]


def unchanged(state: State) -> State:
    return state


@dataclass(frozen=True)
class Format:
    """A format of state dicts.

    name: the code that writes it. keys: the keys that together identify it. table: its rename table, for one state
    dict.
    needs: the settings by config key that its models were trained with, where no tensor shows them.
    selection: the settings with which the AP of released weights was measured.
    finish: completes the renamed state dict if more than names differs.
    """

    name: str
    keys: tuple[str, ...]
    table: Callable[[State], RenameTable]
    needs: Mapping[str, float] = field(default_factory=dict)
    selection: Mapping[str, object] = field(default_factory=dict)
    finish: Callable[[State], State] = unchanged


def position(temperature: float, offset: float) -> dict[str, float]:
    """The settings of a position map with one temperature for both axes."""
    key = "model.neck.position"
    return {f"{key}.temperature_x": temperature, f"{key}.temperature_y": temperature, f"{key}.offset": offset}


EPS = "model.decoder.eps"
CO_DINO_SELECTION = {"soft_nms": 0.8, "num_select": 900, "num_keep": 300}

DAB_DETR = Format(
    "the original DAB-DETR", ("refpoint_embed.weight", "transformer.decoder.norm.weight"), original.table_of_theirs
)
DINO = Format(
    "the original DINO",
    ("transformer.level_embed", "input_proj.0.0.weight", "transformer.tgt_embed.weight"),
    original_deformable.table_of_theirs,
    needs=position(20.0, 0.0) | {EPS: 1e-3},
    finish=original_deformable.without_unread_label,
)
DEFORMABLE = Format(
    "the original (DAB-)Deformable-DETR",
    ("transformer.level_embed", "input_proj.0.0.weight"),
    original_deformable.table_of_theirs,
    needs=position(10000.0, -0.5),
)
DETREX_DAB_DETR = Format("detrex' DAB-DETR", ("anchor_box_embed.weight",), detrex.table_of_theirs)
DETREX_DINO = Format(
    "detrex' DINO",
    ("transformer.level_embeds", "neck.convs.0.conv.weight", "transformer.tgt_embed.weight"),
    detrex.table_of_theirs,
    needs=position(10000.0, -0.5) | {EPS: 1e-3},
)
DETREX_DEFORMABLE = Format(
    "detrex' DAB-Deformable-DETR",
    ("transformer.level_embeds", "neck.convs.0.conv.weight"),
    detrex.table_of_theirs,
    needs=position(10000.0, -0.5),
)
CO_DINO = Format(
    "Co-DETR (Co-DINO)",
    ("query_head.transformer.level_embeds", "query_head.transformer.query_embed.weight"),
    codetr.table_of_theirs,
    needs=position(20.0, 0.0) | {EPS: 1e-3},
    selection={f"model.selection.{key}": value for key, value in CO_DINO_SELECTION.items()},
    finish=codetr.completed,
)
CO_DEFORMABLE = Format(
    "Co-DETR (Co-Deformable-DETR)",
    ("query_head.transformer.level_embeds", "query_head.query_embedding.weight"),
    codetr.table_of_theirs,
    needs=position(10000.0, -0.5) | {EPS: 1e-5},
    finish=codetr.completed,
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
FORMATS = (  # the first that fits counts
    DAB_DETR,
    DINO,
    DEFORMABLE,
    DETREX_DAB_DETR,
    DETREX_DINO,
    DETREX_DEFORMABLE,
    CO_DINO,
    CO_DEFORMABLE,
    TRANSFORMERS,
    TORCHVISION,
)


def recognize(state: State) -> Format | None:
    """The format of a foreign state dict; None if it is ours or unknown."""
    return next((x for x in FORMATS if all(key in state for key in x.keys)), None)


def to_ours(state: State) -> tuple[dict[str, Tensor], Format | None, list[str]]:
    """The state dict under our names, its format, and the keys that no rule covers. A state dict in an unknown format
    stays as it is."""
    found = recognize(state)
    if found is None:
        return dict(state), None, []
    converted, unknown = found.table(state).to_ours(state)
    # frozen batch norm has no counters, and a detector no classification layer
    return (
        dict(found.finish(converted)),
        found,
        [x for x in unknown if not x.endswith("num_batches_tracked") and not x.startswith("fc.")],
    )


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
    elif "neck.level_embed" in state and not {"queries.encode.weight", "queries.content"} <= state.keys():
        tables = {
            "original": lambda: original_deformable.table_of_ours(state),
            "detrex": lambda: detrex.table_of_ours(state),
        }
    if name not in tables:
        known = (
            f"convert it to {' or '.join(tables)}" if tables else "only DAB-DETR, Deformable models and DINO convert"
        )
        raise ValueError(f"{name} has no such model: {known}")
    table = tables[name]()
    unknown = [key for key in table.to_theirs(state)[1] if not key.endswith("num_batches_tracked")]
    if unknown:
        raise ValueError(f"{name} has no place for {', '.join(unknown[:5])}{' ...' if unknown[5:] else ''}")
    return table
