"""Lists the files below a folder, in the same way for conversion, checks and prediction."""

import os
from collections.abc import Iterator
from pathlib import Path

SYSTEM_FOLDERS = {"__MACOSX", "@eaDir", "$RECYCLE.BIN"}


def files_below(folder: str | os.PathLike) -> Iterator[Path]:
    """The paths of all files in a folder and in those below it, also behind links to folders.

    Leaves out hidden files and folders, those of operating systems, and whatever is not a regular file, such as a pipe.
    Lists a broken link, so that whoever reads it reports it. Does not follow a link back to a folder above it.

    Raises OSError for a folder that cannot be read.
    """
    waiting = [(Path(folder), frozenset(map(str, Path(os.path.realpath(folder)).parents)))]
    while waiting:
        here, entered = waiting.pop()
        real = os.path.realpath(here)
        if real in entered:
            continue
        with os.scandir(here) as entries:
            for entry in entries:
                path = here / entry.name
                if entry.name.startswith("."):
                    continue
                if path.is_dir() if entry.is_symlink() else entry.is_dir():
                    waiting += [] if entry.name in SYSTEM_FOLDERS else [(path, entered | {real})]
                elif entry.is_file(follow_symlinks=False) or path.is_file() or not path.exists():
                    yield path
