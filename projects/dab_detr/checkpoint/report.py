"""The report of a load: what happened to every tensor of the checkpoint and of the model."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Fate(Enum):
    """The fates of tensors, in the words of the report."""

    KEPT = "kept as they are"
    CLASSES = "kept, with rows of the model's classes"
    SOME_CLASSES = "kept for the classes that both have, the rest starts from scratch"
    NO_CLASSES = "start from scratch: no class is shared"
    QUERIES = "kept as far as both have queries, the rest starts from scratch"
    SHAPE = "start from scratch: the shapes differ"
    MISSING = "start from scratch: the checkpoint has none"
    LEFT_OVER = "in the checkpoint, but not in the model"
    TRAINING_ONLY = "left out: auxiliary heads for training that the model does not have"


MOST = 12  # lines for one fate

FILLED = frozenset({Fate.KEPT, Fate.CLASSES, Fate.TRAINING_ONLY})
OTHER_CLASSES = FILLED | {Fate.SOME_CLASSES, Fate.NO_CLASSES}


@dataclass(frozen=True)
class Entry:
    """One tensor by its name in this project, its fate and details of it."""

    name: str
    fate: Fate
    detail: str = ""


@dataclass(frozen=True)
class LoadReport:
    """The entries of a load. As a string it is a summary, in which the same tensors of several layers share a line."""

    entries: tuple[Entry, ...]

    def of(self, fate: Fate) -> list[Entry]:
        """The entries with this fate."""
        return [x for x in self.entries if x.fate is fate]

    def __str__(self) -> str:
        lines = []
        for fate in Fate:
            entries = self.of(fate)
            if entries:
                lines.append(f"{len(entries)} tensors {fate.value}")
                lines += [] if fate is Fate.KEPT else [f"    {line}" for line in folded(entries)]
        return "\n".join(lines)


def folded(entries: Iterable[Entry]) -> list[str]:
    """A line for each entry. Entries that differ only in the numbers in their names share one."""
    lines: dict[str, int] = {}
    for entry in entries:
        name = "backbone.*" if entry.name.startswith("backbone.") else re.sub(r"\.\d+(?=\.)", ".*", entry.name)
        line = f"{name}: {entry.detail}" if entry.detail else name
        lines[line] = lines.get(line, 0) + 1
    folded_lines = [f"{line} (x {count})" if count > 1 else line for line, count in lines.items()]
    left_out = len(folded_lines) - MOST + 1
    return folded_lines if left_out <= 1 else [*folded_lines[: MOST - 1], f"... and {left_out} more lines"]
