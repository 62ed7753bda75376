"""Renames state dicts by tables that work in both directions."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

# the fields of a key pattern, and the text that each matches
FIELDS = {
    "i": r"\d+",
    "j": r"\d+",
    "p": r"weight|bias",
    "b": r"weight|bias|running_mean|running_var",
    "r": r".+",
}


@dataclass(frozen=True)
class Rule:
    """One line of a rename table.

    theirs, ours: key patterns with the fields {i}, {j} (numbers), {p} (weight or bias), {b} (a tensor of batch norm),
        {r} (the rest of a key). If `ours` has several patterns, they are equal parts of their tensor along `axis`.
    copies: further keys under which they store the same tensor.
    aliases: keys under which some of their files store it instead; they are read but not written.
    """

    theirs: str
    ours: tuple[str, ...] | str
    axis: int = 0
    copies: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()

    def __post_init__(self):
        if isinstance(self.ours, str):
            object.__setattr__(self, "ours", (self.ours,))


def pattern(key: str) -> re.Pattern:
    """The regular expression of a key pattern."""
    parts = re.split(r"\{(\w)\}", key)
    return re.compile("".join(f"(?P<{x}>{FIELDS[x]})" if i % 2 else re.escape(x) for i, x in enumerate(parts)))


class RenameTable:
    """Rules that convert their state dict into ours and back."""

    def __init__(self, rules: Iterable[Rule]):
        self.rules = list(rules)
        self.theirs = [
            (pattern(key), rule) for rule in self.rules for key in (rule.theirs, *rule.copies, *rule.aliases)
        ]
        self.ours = [(pattern(rule.ours[0]), rule) for rule in self.rules]

    def to_ours(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Our state dict from theirs, and the keys of theirs that no rule covers."""
        converted, unknown = {}, []
        for key, tensor in state.items():
            found = [(m, rule) for expression, rule in self.theirs if (m := expression.fullmatch(key))]
            if not found:
                unknown.append(key)
                continue
            match, rule = found[0]
            if len(rule.ours) > 1 and (tensor.ndim <= rule.axis or tensor.shape[rule.axis] % len(rule.ours)):
                raise ValueError(f"{key} of shape {tuple(tensor.shape)} does not divide into {', '.join(rule.ours)}")
            parts = tensor.chunk(len(rule.ours), rule.axis) if len(rule.ours) > 1 else [tensor]
            for name, part in zip(rule.ours, parts, strict=True):
                name = name.format(**match.groupdict())
                if name in converted and not torch.equal(converted[name], part):
                    raise ValueError(f"{key} differs from another key for {name}: this model has one tensor for both")
                converted[name] = part
        return converted, unknown

    def to_theirs(self, state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
        """Their state dict from ours, and the keys of ours that no rule covers."""
        converted, used = {}, set()
        for key in state:
            for expression, rule in self.ours:
                if match := expression.fullmatch(key):
                    fields = match.groupdict()
                    names = [name.format(**fields) for name in rule.ours]
                    if not all(name in state for name in names):
                        continue  # their tensor cannot hold one part alone, such as points instead of boxes
                    used.update(names)
                    tensor = torch.cat([state[name] for name in names], rule.axis) if len(names) > 1 else state[key]
                    for name in (rule.theirs, *rule.copies):
                        converted[name.format(**fields)] = tensor
        return converted, [key for key in state if key not in used]
