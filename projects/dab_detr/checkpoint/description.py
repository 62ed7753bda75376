"""The description inside a checkpoint, which makes it enough for a prediction."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import detectron2
import torch
from detectron2.evaluation.testing import flatten_results_dict

from ..version import __version__
from .reading import read
from .sources import local_weights

KEY = "dab_detr"  # in the dict of the checkpoint
DEEPEST, MOST_VALUES = 100, 1_000_000  # of plain data


def versions() -> dict[str, str]:
    """The versions of this package, torch and Detectron2."""
    return {"dab_detr": __version__, "torch": str(torch.__version__), "detectron2": detectron2.__version__}


@dataclass(frozen=True, kw_only=True)
class Description:
    """The description of a checkpoint, in plain data: dicts, lists, strings and numbers, without pickled objects.

    class_names: the dataset's names, in the order of the model's classes; None if it has none.
    category_ids: the dataset's ids of these classes, as in its annotation file; None if it has none.
    config: the training's config without interpolations: a LazyConfig, or a yacs config with its keys in capitals; None
        if it is not plain data.
    pixel_mean, pixel_std: by channel, in the order `input_format` ("RGB" or "BGR").
    versions: the versions of the libraries that wrote the checkpoint.
    metrics: results of the last evaluation, nested by task and name, or flat as "bbox/AP"; stored flat. Empty without
        an evaluation.
    """

    class_names: Sequence[str] | None
    category_ids: Sequence[int] | None
    config: Mapping | None
    pixel_mean: Sequence[float]
    pixel_std: Sequence[float]
    input_format: str
    versions: Mapping[str, str] = field(default_factory=versions)
    metrics: Mapping = field(default_factory=dict)

    def to_dict(self) -> dict:
        """The description as a plain dict. Raises ValueError for anything that is not plain data."""
        data = asdict(self)
        data["metrics"] = {name: float(value) for name, value in flatten_results_dict(self.metrics).items()}
        check_plain(data, "description")
        return data

    @classmethod
    def from_dict(cls, data: dict) -> "Description":
        """Read the result of `to_dict`. Raises ValueError for anything else."""
        check_plain(data, "description")
        names = {x.name for x in fields(cls)}
        if type(data) is not dict or names - set(data):
            raise ValueError(f"the checkpoint's description must be a dict with {sorted(names)}")
        for name, kind in {"class_names": str, "category_ids": int}.items():
            if not (data[name] is None or type(data[name]) is list and all(type(x) is kind for x in data[name])):
                raise ValueError(f"description.{name} must be a list of {kind.__name__} or None, got {data[name]!r}")
        if type(data["config"]) not in (dict, type(None)):
            raise ValueError(f"description.config must be a dict or None, got {data['config']!r:.80}")
        given, ids = data["class_names"], data["category_ids"]
        if given and ids and len(given) != len(ids):
            raise ValueError(f"description.category_ids gives {len(ids)} ids to {len(given)} class names")
        return cls(**{name: data[name] for name in names})


def check_plain(value: object, key: str) -> None:
    """Raise ValueError for anything in `value` other than dicts, lists, strings, numbers, bools and None, and for data
    that are nested very deeply, in a circle, or without end."""
    waiting, count = [(value, key, 0)], 0
    while waiting:
        value, key, depth = waiting.pop()
        count += 1
        if depth > DEEPEST or count > MOST_VALUES:
            raise ValueError(f"{key:.100} ... is nested too deeply, or contains itself")
        if type(value) is dict:
            waiting += [(name, f"a key of {key}", depth + 1) for name in value]
            waiting += [(inner, f"{key}.{name}", depth + 1) for name, inner in value.items()]
        elif type(value) is list:
            waiting += [(inner, f"{key}.{i}", depth + 1) for i, inner in enumerate(value)]
        elif value is not None and type(value) not in (str, int, float, bool):
            raise ValueError(f"{key} is a {type(value).__name__}, not plain data")


def description_of(content: Mapping, path: str | Path) -> Description | None:
    """The description in the content of the file at `path`, or None.

    Raises ValueError, which names the file, for a description that `to_dict` cannot have written.
    """
    try:
        return Description.from_dict(content[KEY]) if KEY in content else None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_described(path: str) -> tuple[dict, Description]:
    """The content of a checkpoint, as `local_weights` takes it, and its description.

    Raises ValueError for a file that cannot be read or has no description.
    """
    local = local_weights(path)
    if not Path(local).exists():
        raise ValueError(f"checkpoint {path} does not exist")
    content = read(local)
    about = description_of(content, path)
    if about is None:
        raise ValueError(
            f"checkpoint {path} has no description: train_net.py did not write it, or an older version did. "
            "Give its config too, with --config-file or Predictor.from_config"
        )
    return content, about


def read_description(path: str) -> Description:
    """The description in a checkpoint, as `read_described` finds it."""
    return read_described(path)[1]
