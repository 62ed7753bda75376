"""Finds the config, the weights and the class names of a released model."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from omegaconf import DictConfig

from ..checkpoint import hub
from ..checkpoint.reading import names_of
from ..checkpoint.sources import local_weights
from ..checkpoint.transformers_config import model_overrides, processor_overrides
from ..config import load
from ..zoo.table import PREFIX, config_file, released


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """A loaded config, the local file or folder of the weights, and the names of the classes, None if unknown."""

    config: DictConfig
    weights: str
    class_names: Sequence[str] | None


def pretrained(name: str) -> Pretrained:
    """Return the parts of a released model by its name, downloaded if needed; see `Predictor.from_pretrained`."""
    if name.startswith(hub.PREFIX) or Path(name, hub.CONFIG).is_file():
        return of_transformers(local_weights(name))
    model = released(name)
    config = load(model.config_file(), model.overrides)
    config.dataset.val.name = model.dataset
    return Pretrained(config=config, weights=local_weights(PREFIX + model.name), class_names=None)


def of_transformers(folder: str) -> Pretrained:
    """Return the parts of the model in a folder of transformers. Raises ValueError if it cannot be built."""
    path = Path(folder, hub.CONFIG)
    config, processor = read_json(path), read_json(Path(folder, hub.PROCESSOR))
    try:
        overrides = [*model_overrides(config), *(processor_overrides(processor) if processor else ())]
    except (AttributeError, TypeError) as error:
        raise ValueError(f"{folder} has a damaged config: {error}") from error
    except ValueError as error:
        raise ValueError(f"{folder}: {error}") from error
    names = [name for name in names_of(path) if name]
    classes = len(names) or len(config.get("id2label") or ()) or 2  # as transformers' default
    loaded = load(config_file("dab_detr_r50_50ep"), [*overrides, f"model.num_classes={classes}"])
    return Pretrained(config=loaded, weights=folder, class_names=names or None)


def read_json(path: Path) -> dict:
    """The object in a JSON file, empty for a file that does not exist. Raises ValueError for any other content."""
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path} is damaged: it does not hold an object")
    return content
