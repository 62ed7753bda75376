"""Checks the settings of a config before anything is built.

Most settings become an argument of a function or class. The type hint of that argument says what a setting takes.
Settings of `train` and `dataset` take the same kind of value as their defaults. If neither is known, an override takes
the same kind of value as the one that it replaces. The tables below add the ranges that a kind does not imply.
"""

import functools
import math
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from numbers import Integral, Real
from pathlib import Path
from typing import Literal

from detectron2.utils.registry import locate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .defaults import dataset_node, train_node
from .kinds import allows_null, fits, hint_of, hints_of, plain, words

DECLARED = {
    "train.output_dir": Path,
    "train.init_checkpoint": Path | None,
    "train.epochs": float | None,
    "train.best": dict | None,
    "train.best.metric": str | None,
    "train.early_stopping.min_delta": float,
    "train.recipe": Literal["auto"] | None,
    "train.writers": list[str],
    "train.preview": dict | None,
    "train.checkpointer.max_to_keep": int | None,
    "dataloader.num_workers": int,
    "dataset.root": Path | None,
    "dataset.*.name": str | None,
    "dataset.*.annotations": Path | None,
    "dataset.*.images": Path | None,
    "optimizer.params.lr_factors.*": float,
}
"""The kinds of settings whose defaults do not show them."""

SECTIONS = "train", "dataset", "dataloader", "model", "optimizer", "lr_multiplier"
POSITIVE = (
    "train.max_iter", "train.epochs", "train.log_period", "train.checkpointer.period",
    "train.checkpointer.max_to_keep", "train.accumulate", "total_batch_size", "num_classes", "num_queries",
    "num_layers", "num_levels", "num_select", "num_keep", "max_detections", "dim", "heads", "hidden", "points",
    "depth", "width", "max_side", "max_size", "short_side", "short_edge_length", "crop_short_side", "crop_side",
    "temperature", "temperature_x", "temperature_y", "pixel_std", "max_norm", "area_sides", "num_updates",
    "num_train", "num_val",
)  # fmt: skip
NOT_NEGATIVE = (
    "lr", "lr_factors.*", "weight_decay", "weight_class", "weight_bbox", "weight_giou", "weight", "cost_class",
    "cost_bbox", "cost_giou", "eps", "box_noise", "anchor_size", "size", "warmup_factor", "min_delta",
)  # fmt: skip
FRACTION = (
    "dropout", "drop_path_rate", "score_threshold", "label_noise", "betas", "ema.decay", "warmup_length", "soft_nms",
    "val_fraction",
)  # fmt: skip
ANY_SIGN = ("train.seed", "dataset.split_seed", "seed")
OURS = ("dab_detr.", "detectron2.", "torch.", "fvcore.")  # the ranges hold only for arguments of these packages


@dataclass(frozen=True, kw_only=True)
class Setting:
    """A value in a config, with its key and type hint. known: whether the code that takes it is in `OURS`."""

    key: str
    value: object
    hint: object = None
    known: bool = True


@dataclass(kw_only=True)
class Schema:
    """The settings of one config.

    cfg: a config with its overrides.
    before: the config without them. Its values show the kind of a setting that has neither a hint nor a default.
    overridden: keys that overrides have set.
    names: other names of keys, for messages.
    file: the config file, which messages name for values that no override has set.
    """

    cfg: DictConfig
    before: Mapping = field(default_factory=dict)
    overridden: Collection[str] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    file: str = ""

    def check(self) -> None:
        """Raise ValueError for the first value of the wrong kind or out of range."""
        content = OmegaConf.to_container(self.cfg, resolve=False)
        defaults = {
            x: OmegaConf.to_container(node) for x, node in (("train", train_node()), ("dataset", dataset_node()))
        }
        examples, declared = dict(leaves_and_branches(self.before)), dict(leaves_and_branches(defaults))
        for setting in settings_of({name: content[name] for name in SECTIONS if name in content}):
            example = declared.get(setting.key)
            if setting.hint is None and setting.known and example is None and self.sets(setting.key):
                example = examples.get(setting.key)
                if isinstance(example, str) and "${" in example:  # a reference does not show the kind
                    example = None
            if fault := self.fault(setting, example):
                raise ValueError(self.message(setting, fault))

    def sets(self, key: str) -> bool:
        """Whether an override has set this key, or one below it."""
        return any(under(x, key) for x in self.overridden)

    def fault(self, setting: Setting, example: object) -> str | None:
        """Say what the setting takes, if its value does not fit; otherwise None."""
        key, value, hint = setting.key, setting.value, setting.hint
        hint = next((x for pattern, x in DECLARED.items() if fnmatchcase(key, pattern)), hint)
        if isinstance(value, str) and "${" in value:
            if not any(under(key, x) for x in self.overridden):
                return None  # the value that it refers to has its own check
            try:
                value = OmegaConf.to_container(OmegaConf.create({"x": OmegaConf.select(self.cfg, key)}))["x"]
            except OmegaConfBaseException as error:
                return f"a reference to another key ({str(error).splitlines()[0]})"
        if isinstance(value, dict) and "_target_" in value or value is None and allows_null(hint):
            return None
        if hint is None:
            hint = hint_of(example)
        if isinstance(example, dict) and "_target_" in example or hint is not None and not plain(hint):
            part = value is None or isinstance(value, bool | int | float | str)
            return "a part: a node with _target_" if part else None
        if hint is not None and not fits(value, hint):
            return words(hint)
        return range_fault(key, value, hint) if setting.known else None

    def message(self, setting: Setting, takes: str) -> str:
        """The error: the place, what the setting takes, what it got, and a hint for common mistakes."""
        key, value = setting.key, setting.value
        name = f"{self.names[key]} ({key})" if key in self.names else key
        where = "" if not self.file or any(under(key, x) for x in self.overridden) else f"{self.file}: "
        got = "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)
        hint = ""
        if takes.startswith(WHOLE) and isinstance(value, float) and value.is_integer():
            hint = f"; write {int(value)}"
        elif takes.startswith(WHOLE) and isinstance(value, str) and value.replace(",", "").isdecimal():
            hint = f"; write {value.replace(',', '')}"
        elif takes.startswith(("text", "a path")) and isinstance(value, Real) and not isinstance(value, bool):
            hint = f"""; in quotes a number is text: {key}='"{value}"'"""
        return f"{where}{name} takes {takes}, got {got}{hint}"


WHOLE = "a whole number"


def settings_of(content: object, key: str = "") -> Iterator[Setting]:
    """Yield every setting of a config, inner nodes included, with the type hint of the argument that it becomes.

    Raises ValueError for a setting that is not an argument of the function or class that its node calls.
    """
    hints, target, open_ended, known = {}, None, True, True
    if isinstance(content, dict) and content.get("_target_") is not None:
        target = target_of(content["_target_"], key)
        hints, open_ended = hints_of(target)
        known = f"{target.__module__}.".startswith(OURS)
    entries = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, value in entries:
        path = f"{key}.{name}" if key else str(name)
        if name == "_target_":
            continue
        if target and name not in hints and not open_ended:
            raise ValueError(f"{path}: {target.__name__} has no argument {name!r}; it has {', '.join(hints)}")
        yield Setting(key=path, value=value, hint=hints.get(name), known=known)
        yield from settings_of(value, path)


def target_of(target: object, key: str) -> Callable:
    """The function or class that a node calls. Raises ValueError if it cannot be imported."""
    if callable(target):
        return target
    try:
        return locate(target)
    except Exception as error:  # an import runs code, which can raise anything
        raise ValueError(f"{key}._target_ names {target!r}, which cannot be imported: {error}") from error


def leaves_and_branches(content: object, key: str = "") -> Iterator[tuple[str, object]]:
    """Yield (dotted key, value) for every leaf and every inner node of a config."""
    entries = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    for name, value in entries:
        path = f"{key}.{name}" if key else str(name)
        yield path, value
        yield from leaves_and_branches(value, path)


def under(key: str, other: str) -> bool:
    """Whether `key` is `other` or a key below it."""
    return f"{key}.".startswith(f"{other}.")


@functools.cache
def listed(key: str, patterns: tuple[str, ...]) -> bool:
    """Whether the end of a key matches one of the patterns. Indices of list elements do not count."""
    names = [x for x in key.split(".") if not x.isdecimal()]
    ends = [".".join(names[i:]) for i in range(len(names))]
    return any(fnmatchcase(end, pattern) for end in ends for pattern in patterns)


def range_fault(key: str, value: object, hint: object) -> str | None:
    """Say what range a number must be in, if it is outside; otherwise None.

    All numbers must be finite. Whole numbers must not be negative, except those in `ANY_SIGN`.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        return None
    kind = WHOLE if hint is int or hint == int | None else "a number"
    if not math.isfinite(value):
        return "a finite number"
    if listed(key, POSITIVE):
        return None if value > 0 else f"{kind} above 0"
    if listed(key, FRACTION):
        return None if 0 <= value <= 1 else "a number from 0 to 1"
    if value < 0 and not listed(key, ANY_SIGN) and (isinstance(value, Integral) or listed(key, NOT_NEGATIVE)):
        return f"{kind}, 0 or more"
    return None


def expand_home(cfg: DictConfig) -> None:
    """Expand `~` at the start of every text in a config, in place. Such a text is a path."""
    for key, value in leaves_and_branches(OmegaConf.to_container(cfg, resolve=False)):
        if isinstance(value, str) and value.startswith("~"):
            OmegaConf.update(cfg, key, os.path.expanduser(value))
