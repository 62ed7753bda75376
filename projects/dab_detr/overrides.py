"""Applies command-line overrides to configs. An unknown key is an error that suggests the right one."""

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import reduce
from operator import getitem

from detectron2.config import CfgNode, LazyConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from .kinds import fits, hint_of, words


def apply_overrides(cfg: DictConfig, overrides: Sequence[str]) -> list[str]:
    """Apply overrides `a.b=value` to a LazyConfig, in place; `+a.b=value` adds a new key.

    A value with commas is text, and `~` at its start is the home folder. Returns the keys that were set.

    Raises ValueError for unknown keys and for malformed overrides.
    """
    if not overrides:
        return []
    _refuse_options(overrides)
    overrides = [as_text(x) for x in map(expand_home, overrides)]
    known = set(_keys(OmegaConf.to_container(cfg, resolve=False)))
    touched = []
    for override in _parse(overrides):
        if override.is_delete():
            raise ValueError(f"~{override.key_or_group}: a key cannot be deleted; set it to null instead")
        keys = list(_leaves(override.key_or_group, override.value()))
        for key in keys:
            if key not in known and not override.is_add():
                raise ValueError(f"{_no_such_key(key, known)} (+{key}=... adds a new key)")
        touched += keys
    try:
        LazyConfig.apply_overrides(cfg, overrides)
    except (KeyError, OmegaConfBaseException) as error:
        key, text = getattr(error, "full_key", "the overrides"), str(error).splitlines()[0]
        raise ValueError(f"{key}: {text}; to replace a whole node, write a config file") from error
    return touched


def assignment(key: str, value: str) -> str:
    """The override that sets a key to a text with any characters."""
    escaped = re.sub(r"(\\*)'", r"\1\1\\'", value)  # a backslash escapes only before a quote
    escaped = re.sub(r"(\\+)$", r"\1\1", escaped)
    return f"{key}='{escaped}'"


def expand_home(override: str) -> str:
    """Write `key=~/folder` with the full path, in the quotes that the grammar of overrides requires."""
    key, equals, value = override.partition("=")
    return assignment(key, os.path.expanduser(value)) if equals and value.startswith("~") else override


def as_text(override: str) -> str:
    """Quote the value of an override if the grammar would read several values: `key=2,000` is one text."""
    key, _, value = override.partition("=")
    (parsed,) = _parse([override])
    return assignment(key, value) if parsed.is_sweep_override() else override


def split_overrides(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Split overrides into pairs `A.B value` and assignments `a.b=value`, which may come in any order."""
    pairs, assignments, rest = [], [], iter(overrides)
    for word in rest:
        if re.match(r"[+~]?[\w.@/-]+=", word) or word.startswith(("--", "~")):
            assignments.append(word)
        else:
            pairs += [word, *[value for value in [next(rest, None)] if value is not None]]
    return pairs, assignments


def merge_overrides(cfg: CfgNode, overrides: Sequence[str]) -> list[str]:
    """Apply overrides `A.B value C value` to a yacs config, in place. Returns the keys that were set.

    Raises ValueError for unknown keys, for overrides that are not pairs, and for values of the wrong kind.
    """
    _refuse_options(overrides)
    if len(overrides) % 2:
        raise ValueError(
            "overrides of a yaml config are pairs of key and value, like SOLVER.MAX_ITER 100; "
            f"got {' '.join(overrides)}"
        )
    known = set(_keys(cfg))
    for key in overrides[::2]:
        if key not in known:
            raise ValueError(_no_such_key(key, known))
    for key, value in zip(overrides[::2], overrides[1::2], strict=True):
        set_yacs(cfg, key, value)
    return list(overrides[::2])


def set_yacs(cfg: CfgNode, key: str, text: str) -> None:
    """Set one key of a yacs config. Raises ValueError if the value differs in kind from the one that it replaces."""
    replaced, value = reduce(getitem, key.split("."), cfg), CfgNode._decode_cfg_value(text)
    whole = isinstance(replaced, float) and fits(value, int)  # yacs itself refuses 1 where 1.0 is meant
    try:
        if value is None and replaced is not None:
            raise ValueError("yacs itself takes None for anything")
        cfg.merge_from_list([key, float(value) if whole else text])
    except (AssertionError, ValueError) as error:
        hint = f"; in quotes it is text: {key} \"'{text}'\"" if isinstance(replaced, str) else ""
        raise ValueError(f"{key} takes {words(hint_of(replaced))}, got {text!r}{hint}") from error


def _refuse_options(overrides: Sequence[str]) -> None:
    options = [x for x in overrides if x.startswith("--")]
    if options:
        raise ValueError(f"options go before the overrides: {' '.join(options)}")


def _parse(overrides: Sequence[str]) -> list:
    from hydra.core.override_parser.overrides_parser import OverridesParser  # slow to import
    from hydra.errors import OverrideParseException

    try:
        return OverridesParser.create().parse_overrides(list(overrides))
    except OverrideParseException as error:
        raise ValueError(
            f"cannot read the override {error.override!r}; overrides of a lazy config look like train.max_iter=100, "
            "with special characters in quotes: \"dataset.val.images='my images (2)'\""
        ) from error


def _leaves(key: str, value: object) -> Iterator[str]:
    """Yield the keys that change when `key` is set to `value`. A dict is merged into the existing one."""
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from _leaves(f"{key}.{name}", inner)
    else:
        yield key


def _keys(node: object, prefix: str = "") -> Iterator[str]:
    """Yield every dotted key of a config, inner nodes included."""
    entries = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for name, child in entries:
        yield f"{prefix}{name}"
        yield from _keys(child, f"{prefix}{name}.")


def _no_such_key(key: str, known: Iterable[str]) -> str:
    """The error message. It suggests the most similar keys, or else keys with a similar last part."""
    known = sorted(other for other in known if not other.endswith("_target_"))
    close = difflib.get_close_matches(key, known, n=3, cutoff=0.8)
    if not close:
        last = {other: other.rpartition(".")[2] for other in known}
        ends = difflib.get_close_matches(key.rpartition(".")[2], sorted(set(last.values())), n=1)
        close = [other for other in known if last[other] in ends][:3]
    hint = f"; did you mean {' or '.join(close)}?" if close else ""
    return f"the config has no key {key!r}{hint}"
