"""What a checkpoint says of itself beside its weights: enough to predict with it and nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path

import detectron2
import torch
from detectron2.evaluation.testing import flatten_results_dict
from detectron2.utils.file_io import PathManager

from ..version import __version__
from .reading import read

KEY = "dab_detr"  # in the checkpoint's dict


def versions() -> dict[str, str]:
    """Of this package and what it stands on."""
    return {"dab_detr": __version__, "torch": str(torch.__version__), "detectron2": detectron2.__version__}


@dataclass(frozen=True, kw_only=True)
class Description:
    """Plain data: dicts, lists, strings, numbers, which a checkpoint holds without any pickled object.

    class_names: of the dataset, in the order of the model's classes; None where it has none.
    category_ids: the dataset's ids of these classes, as its annotation file has them; None where it has none.
    config: of the training, without interpolations: a LazyConfig, or a yacs config with its keys in capitals; None
        where it holds what is not plain data.
    pixel_mean, pixel_std: of the channels, in the order `input_format` ("RGB" or "BGR").
    versions: of the libraries that wrote it.
    metrics: what the last evaluation found, nested by task and name, or flat as "bbox/AP"; stored flat. Empty where
        there was none.
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
        """Raises ValueError for what is not plain data."""
        data = asdict(self)
        data["metrics"] = {name: float(value) for name, value in flatten_results_dict(self.metrics).items()}
        check_plain(data, "description")
        return data

    @classmethod
    def from_dict(cls, data: dict) -> "Description":
        """Raises ValueError for what `to_dict` does not write."""
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
    """Raises ValueError for anything in `value` but dicts, lists, strings, numbers, bools and None."""
    if type(value) is dict:
        for name, inner in value.items():
            check_plain(name, f"a key of {key}")
            check_plain(inner, f"{key}.{name}")
    elif type(value) is list:
        for i, inner in enumerate(value):
            check_plain(inner, f"{key}.{i}")
    elif value is not None and type(value) not in (str, int, float, bool):
        raise ValueError(f"{key} is of {type(value).__name__}, not plain data")


def description_of(content: Mapping, path: str | Path) -> Description | None:
    """The description in what was read from the file at `path`, if there is one.

    Raises ValueError, which names the file, for one that `to_dict` does not write.
    """
    try:
        return Description.from_dict(content[KEY]) if KEY in content else None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def read_description(path: str) -> Description:
    """The description in a checkpoint, a local file or a URL.

    Raises ValueError for a file that cannot be read, or that has none.
    """
    local = PathManager.get_local_path(str(path))
    if not Path(local).is_file():
        raise ValueError(f"checkpoint {path} does not exist")
    about = description_of(read(local), path)
    if about is None:
        raise ValueError(
            f"checkpoint {path} does not describe itself: train_net.py did not write it, or an older one did. "
            "Give its config too, with --config-file or Predictor.from_config"
        )
    return about
