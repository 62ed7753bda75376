"""Checks the settings that a resumed training has changed."""

import logging

from omegaconf import DictConfig

from ..checkpoint.description import read_description
from ..checkpoint.resumable import newest
from .description import plain_lazy

# Settings that may change on a resume. All others in the model decide what its weights mean.
MAY_CHANGE = (
    "dataloader.",
    "dataset.",
    "lr_multiplier.",
    "model.activation_checkpointing",
    "model.criterion.",
    "model.denoising.",
    "model.precision",
    "model.selection.",
    "optimizer.",
    "train.",
)
MUST_STAY = ("optimizer._target_",)
IGNORED = ("source.", "train.output_dir", "train.init_checkpoint", "train.device")
SHOWN = 12

logger = logging.getLogger(__name__)


def check_changes(cfg: DictConfig) -> None:
    """Log the settings of a resumed training that differ from those that its checkpoint was trained with.

    Raises ValueError for a setting that cannot change while the weights stay.
    """
    path = newest(cfg.train.output_dir)
    earlier = path and read_description(str(path)).config
    if not earlier:
        return
    before, now = dict(values(earlier)), dict(values(plain_lazy(cfg)))
    changed = {
        key: (before.get(key), now.get(key))
        for key in [*before, *(now.keys() - before.keys())]
        if before.get(key) != now.get(key) and not key.startswith(IGNORED)
    }
    refused = [key for key in changed if key in MUST_STAY or not key.startswith(MAY_CHANGE)]
    if refused:
        key = refused[0]
        raise ValueError(
            f"--resume cannot change {key} from {changed[key][0]} to {changed[key][1]}, because the weights were "
            f"trained with the earlier value. Leave {', '.join(refused[:SHOWN])} as in {path}, or start a new training "
            "from train.init_checkpoint in another train.output_dir"
        )
    for key, (old, new) in sorted(changed.items()):
        logger.info("Changed since the last run: %s from %s to %s", key, old, new)


def values(node: object, key: str = "") -> list[tuple[str, object]]:
    """(dotted key, value) of all values in plain data; a list is one value."""
    if isinstance(node, dict):
        return [pair for name, inner in node.items() for pair in values(inner, f"{key}.{name}".lstrip("."))]
    return [(key, node)]
