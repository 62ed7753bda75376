"""What became of every tensor of a checkpoint and of a model, in a load."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum


class Fate(Enum):
    """What happens to a tensor, in the words of the report."""

    KEPT = "kept as they are"
    CLASSES = "kept, with rows of the model's classes"
    SOME_CLASSES = "kept for the classes that both have, the rest starts anew"
    NO_CLASSES = "start anew, for no class is shared"
    QUERIES = "kept as far as both have queries, the rest starts anew"
    SHAPE = "start anew, for their shape is another"
    MISSING = "start anew, for the checkpoint has none"
    LEFT_OVER = "in the checkpoint, not in the model"


MOST = 12  # lines of one fate

FILLED = frozenset({Fate.KEPT, Fate.CLASSES})
OTHER_CLASSES = FILLED | {Fate.SOME_CLASSES, Fate.NO_CLASSES}


@dataclass(frozen=True)
class Entry:
    """One tensor by its name here, and what there is to say about it."""

    name: str
    fate: Fate
    detail: str = ""


@dataclass(frozen=True)
class LoadReport:
    """The entries of a load; as a string, a summary in which tensors that differ in numbers of layers are one line."""

    entries: tuple[Entry, ...]

    def of(self, fate: Fate) -> list[Entry]:
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
    """A line for each entry; those that are alike but for numbers in their names share one."""
    lines: dict[str, int] = {}
    for entry in entries:
        name = "backbone.*" if entry.name.startswith("backbone.") else re.sub(r"\.\d+(?=\.)", ".*", entry.name)
        line = f"{name}: {entry.detail}" if entry.detail else name
        lines[line] = lines.get(line, 0) + 1
    told = [f"{line} (x {count})" if count > 1 else line for line, count in lines.items()]
    return told if len(told) <= MOST else [*told[: MOST - 1], f"... and {len(told) - MOST + 1} lines more"]
