"""What the settings of a config take, checked before anything is built.

A setting takes what the argument that it becomes is annotated with. Settings of `train` and `dataset` become no
argument: they take what their defaults are. An override takes what the value that it replaces is, if nothing else is
known. A table has the few ranges that follow from no kind.
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
"""Kinds of settings whose defaults do not tell them."""

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
OURS = ("dab_detr.", "detectron2.", "torch.", "fvcore.")  # the ranges are of their arguments


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One value of a config: its key, the hint of what it takes, and whether it is an argument of code that we know."""

    key: str
    value: object
    hint: object = None
    known: bool = True


@dataclass(kw_only=True)
class Schema:
    """The settings of one config.

    cfg: a config with its overrides. before: the config without them, for what is known from nowhere else.
    overridden: keys that overrides have set. names: other names of keys, for messages. file: that the rest comes from.
    """

    cfg: DictConfig
    before: Mapping = field(default_factory=dict)
    overridden: Collection[str] = ()
    names: Mapping[str, str] = field(default_factory=dict)
    file: str = ""

    def check(self) -> None:
        """Raise ValueError for the first value that is of another kind than the setting takes, or out of its range."""
        content = OmegaConf.to_container(self.cfg, resolve=False)
        defaults = {
            x: OmegaConf.to_container(node) for x, node in (("train", train_node()), ("dataset", dataset_node()))
        }
        examples, declared = dict(leaves_and_branches(self.before)), dict(leaves_and_branches(defaults))
        for setting in settings_of({name: content[name] for name in SECTIONS if name in content}):
            example = declared.get(setting.key)
            if setting.hint is None and setting.known and example is None and self.sets(setting.key):
                example = examples.get(setting.key)
                if isinstance(example, str) and "${" in example:  # a reference does not tell the kind
                    example = None
            if fault := self.fault(setting, example):
                raise ValueError(self.message(setting, fault))

    def sets(self, key: str) -> bool:
        """Whether an override has set this key, or one below it."""
        return any(under(x, key) for x in self.overridden)

    def fault(self, setting: Setting, example: object) -> str | None:
        """What the setting takes, if its value is not that."""
        key, value, hint = setting.key, setting.value, setting.hint
        hint = next((x for pattern, x in DECLARED.items() if fnmatchcase(key, pattern)), hint)
        if isinstance(value, str) and "${" in value:
            if not any(under(key, x) for x in self.overridden):
                return None  # what it refers to is checked itself
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
        """The error: where the value is, what the setting takes, what it got, and the way out of a common slip."""
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
    """Every setting of a config, inner nodes too, with the hints of the functions and classes that nodes call."""
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
    """The function or class that a node calls. Raises ValueError for a name of none."""
    if callable(target):
        return target
    try:
        return locate(target)
    except Exception as error:  # an import runs any code
        raise ValueError(f"{key}._target_ names {target!r}, which cannot be imported: {error}") from error


def leaves_and_branches(content: object, key: str = "") -> Iterator[tuple[str, object]]:
    """(dotted key, value) of everything in a config."""
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
    """Whether the end of a key, without the numbers of elements, is among patterns."""
    names = [x for x in key.split(".") if not x.isdecimal()]
    ends = [".".join(names[i:]) for i in range(len(names))]
    return any(fnmatchcase(end, pattern) for end in ends for pattern in patterns)


def range_fault(key: str, value: object, hint: object) -> str | None:
    """The range of a number, if it is out of it. Numbers are finite, and whole numbers not negative."""
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
        return f"{kind} from 0 on"
    return None


def expand_home(cfg: DictConfig) -> None:
    """Expand `~` at the start of every text of a config, in place: it is a path."""
    for key, value in leaves_and_branches(OmegaConf.to_container(cfg, resolve=False)):
        if isinstance(value, str) and value.startswith("~"):
            OmegaConf.update(cfg, key, os.path.expanduser(value))
