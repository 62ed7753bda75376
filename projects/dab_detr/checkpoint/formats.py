"""Recognises whose checkpoint a state dict is, by its keys, and converts it to ours."""

import logging
from collections.abc import Mapping

from torch import Tensor

from . import original, original_deformable, transformers
from .blocks import torchvision_resnet
from .rename import RenameTable

logger = logging.getLogger(__name__)


def table_for(state: Mapping[str, Tensor]) -> tuple[str, RenameTable] | None:
    """Name and rename table of a foreign state dict; None for one of ours, or of nobody we know."""
    if "refpoint_embed.weight" in state and "transformer.decoder.norm.weight" in state:
        return "the original DAB-DETR", original.table_of_theirs(state)
    if "transformer.level_embed" in state and "input_proj.0.0.weight" in state:
        return "the original (DAB-)Deformable-DETR", original_deformable.table_of_theirs(state)
    if "model.query_refpoint_embeddings.weight" in state:
        return "transformers' DabDetrForObjectDetection", transformers.dab_detr_table()
    if "layer1.0.conv1.weight" in state and "conv1.weight" in state:
        return "torchvision's ResNet", RenameTable(torchvision_resnet("", "backbone."))
    return None


def to_ours(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """The state dict under our names; as it is when its keys are none of a format we know."""
    found = table_for(state)
    if found is None:
        return state
    name, table = found
    converted, unknown = table.to_ours(state)
    # counters of batch norm, which frozen batch norm has none of, and a classifier's last layer
    unknown = [key for key in unknown if not key.endswith("num_batches_tracked") and not key.startswith("fc.")]
    logger.info(f"Converted {len(converted)} tensors of a checkpoint of {name}")
    if unknown:
        logger.warning(f"Left over, for no rule knows them: {', '.join(unknown)}")
    return converted
