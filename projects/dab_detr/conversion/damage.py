"""Faults of files, each in one line."""

import os
import reprlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data.content import printable


class Damage(ValueError):
    """A file that cannot be read: its path, the entry within it (may be empty), and the problem."""

    def __init__(self, path: Path, entry: str, problem: str):
        self.path = path
        super().__init__(f"{shown(path)}{', ' if entry else ''}{printable(f'{entry}: {problem}')}")


class DamagedDataset(ValueError):
    """A dataset that was not converted because of damaged files; `lines` has one line for each of them."""

    def __init__(self, lines: Sequence[str]):
        self.lines = tuple(lines)
        more = f" (and {len(lines) - 1} more)" if len(lines) > 1 else ""
        super().__init__(f"{lines[0]}{more}")


def shown(path: Path | str, folder: Path | str | None = None) -> str:
    """A path for a message, relative to a folder (by default the working folder) if it lies below that."""
    text = os.path.abspath(path)
    folder = os.path.join(os.path.abspath(folder or os.getcwd()), "")
    return printable(text.removeprefix(folder))


def brief(value: Any) -> str:
    """A value as a message shows it, in at most 60 characters and without writing all of a huge one."""
    return reprlib.repr(value)[:60]
