"""The files that a prediction writes. No name clashes, or replaces an input or a file of an earlier run."""

import os
import re
from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote

import numpy as np
from PIL import Image

from ..checkpoint.writing import atomic_write
from ..download import is_url

LONGEST_NAME = 200  # bytes, so that a number and a suffix fit into the 255 of most file systems


def stem_of(name: str) -> str:
    """The name in a path or URL, without folder and suffix, as a file name of at most 200 bytes."""
    if is_url(name):
        name = unquote(re.split("[?#]", name)[0]).rstrip("/")
    stem = re.sub(r"[\0/\\]", "_", Path(name).stem) or "image"
    return os.fsdecode(os.fsencode(stem)[:LONGEST_NAME]) if len(os.fsencode(stem)) > LONGEST_NAME else stem


def picture_names(names: Sequence[str], taken: Iterable[str] = ()) -> list[str]:
    """A file name for the picture of each image: its stem, with a number if another image has the same.

    Names that differ only in upper and lower case clash too, because some file systems do not tell them apart.

    names: paths or URLs of the images. taken: file names that are in use already.
    """
    stems = [stem_of(name) for name in names]
    own = {stem.casefold() for stem in stems}
    used = {Path(name).stem.casefold() for name in taken}
    numbers: dict[str, int] = defaultdict(lambda: 1)
    found = []
    for stem in stems:
        name = stem
        while name.casefold() in used or (name != stem and name.casefold() in own):
            name = f"{stem}_{numbers[stem.casefold()]}"
            numbers[stem.casefold()] += 1
        used.add(name.casefold())
        found.append(f"{name}.png")
    return found


class Pictures:
    """Saves pictures into a folder, each whole or not at all.

    names: paths or URLs of the images to come. taken: file names that an earlier part of the run has used.
    share: the images whose pictures this process saves. Other processes save the others.
    """

    def __init__(self, folder: Path, names: Sequence[str], taken: Iterable[str] = (), *, share: slice = slice(None)):
        self.folder, self.names = folder, defaultdict(deque)
        for name, picture in list(zip(names, picture_names(names, taken), strict=True))[share]:
            self.names[name].append(picture)

    def paths(self) -> list[Path]:
        """All files that may be written."""
        return [self.folder / picture for pictures in self.names.values() for picture in pictures]

    def save(self, name: str, picture: np.ndarray) -> str:
        """Save the picture (H, W, 3) of the image `name`. Returns its file name."""
        target = self.names[name].popleft()
        with atomic_write(self.folder / target) as file:
            Image.fromarray(picture).save(file, "png")
        return target


def check_inputs_are_safe(written: Iterable[Path], read: Iterable[str | os.PathLike]) -> None:
    """Raise ValueError if a file to be written is also read, even under another name (a link, a relative path)."""
    inputs = {identity(path): path for path in read}
    for path in written:
        found = inputs.get(identity(path)) if path.exists() else None
        if found is not None:
            raise ValueError(f"{path} would overwrite the input ({found}): choose another place")


def identity(path: str | os.PathLike) -> tuple[int, int] | str:
    """An identity that all names of a file share. For a file that does not exist, it is the path."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return os.fspath(path)
    return status.st_dev, status.st_ino


def check_nothing_is_replaced(written: Collection[Path]) -> None:
    """Raise ValueError if a file to be written exists."""
    existing = [path for path in written if os.path.lexists(path)]
    if existing:
        more = f" and {len(existing) - 1} more files" if existing[1:] else ""
        raise ValueError(
            f"{existing[0]}{more} exist already: choose another place, continue that run with --resume, or replace its "
            "files with --overwrite"
        )
