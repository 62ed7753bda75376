"""Writes files that are complete or absent."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

WRITER = "written_by_dab_detr"  # marks files in the format of other code whose weights need not have its settings


@contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that replaces `path` in one step, once all of it is on the disk.

    A kill leaves `path` as it was. It also leaves a file with the suffix `.incomplete`, which the next write replaces.
    """
    incomplete = path.with_name(f"{path.name}.incomplete")
    try:
        with incomplete.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        incomplete.replace(path)
    except BaseException:
        incomplete.unlink(missing_ok=True)
        raise
