"""The report of a conversion."""

import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ..doctor.finding import Finding, Severity
from .damage import printable, shown
from .records import Picture


@dataclass(frozen=True, kw_only=True)
class Output:
    """An annotation file that was written, and the folder that its file names start from."""

    annotations: Path
    images: Path
    num_images: int
    num_objects: int

    def __str__(self) -> str:
        return (
            f"{shown(self.annotations)}: {self.num_images} images, {self.num_objects} annotations, "
            f"pictures in {shown(self.images)}"
        )


@dataclass(frozen=True, kw_only=True)
class Report:
    """The report of a conversion.

    understood: what was recognized, in one sentence.
    outputs: split -> what was written.
    categories: class names by their ids.
    findings: everything that did not go straight from the source into the outputs.
    """

    understood: str
    outputs: dict[str, Output]
    categories: dict[int, str]
    findings: tuple[Finding, ...]

    @property
    def clean(self) -> bool:
        """Whether nothing was left out or needs a look."""
        return all(finding.severity is Severity.NOTE for finding in self.findings)

    def arguments(self) -> str:
        """The arguments of tools/check_dataset.py for train and val, or for the only split."""
        splits = {name: self.outputs[name] for name in ("train", "val") if name in self.outputs} or self.outputs
        paths = [(shown(x.annotations), shown(x.images)) for x in splits.values()]
        options = ("--train", "--val")
        return " ".join(f"{o} {shlex.join(pair)}" for o, pair in zip(options, paths, strict=False))

    def lines(self, shown: int | None = 20) -> Iterator[str]:
        """The lines of the report, with the first `shown` places of each finding, or all places for None."""
        yield self.understood
        yield from map(str, self.outputs.values())
        yield printable("categories: " + ", ".join(f"{i} {name}" for i, name in self.categories.items()))
        for finding in self.findings:
            yield printable(f"{finding.severity.value}: {finding.sentence(shown)}")


def classes_apart(pictures: dict[str, list[Picture]]) -> tuple[list[str], list[str]]:
    """The classes with objects in val and none in train, and those with objects in train and none in val.

    Both are empty if one of the splits does not exist.
    """
    if not {"train", "val"} <= pictures.keys():
        return [], []
    counts = [Counter(x.name for picture in pictures[name] for x in picture.items) for name in ("train", "val")]
    train, val = (set(count) for count in counts)
    return sorted(val - train), sorted(train - val)
