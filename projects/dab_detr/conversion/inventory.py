"""Every file of a dataset folder, so that each picture can be accounted for."""

import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from ..data.folders import files_below

# suffixes that Pillow knows but cannot decode by itself, or that do not belong to pictures
NO_PICTURES = {"PDF", "MPEG", "BUFR", "GRIB", "HDF5", "PALM"}
# pictures that Pillow cannot open by itself
FOREIGN = {".heic", ".heif", ".jxl", ".svg", ".dng", ".raw", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2", ".raf"}


@dataclass(frozen=True, kw_only=True)
class Inventory:
    """The files below a folder, sorted, without hidden ones.

    pictures: files with a suffix of a format that Pillow reads.
    foreign: pictures in formats that it does not read.
    others: all other files.
    """

    folder: Path
    pictures: tuple[Path, ...]
    foreign: tuple[Path, ...]
    others: tuple[Path, ...]

    def named(self, *suffixes: str) -> list[Path]:
        """The other files with one of these suffixes, in any case."""
        return [path for path in self.others if path.suffix.lower() in suffixes]

    def relative(self, path: Path) -> tuple[str, ...]:
        """The folders and the name of a file below the folder."""
        return path.relative_to(self.folder).parts


def picture_suffixes() -> set[str]:
    """The suffixes of all formats that the installed Pillow opens, in small letters and with their dots."""
    return {
        suffix
        for suffix, form in Image.registered_extensions().items()
        if form in Image.OPEN and form not in NO_PICTURES
    }


def take_inventory(folder: Path) -> Inventory:
    """List all files below a folder, as `files_below` does."""
    folder = Path(os.path.abspath(folder))
    suffixes = picture_suffixes()
    found: dict[str, list[Path]] = {"pictures": [], "foreign": [], "others": []}
    for path in files_below(folder):
        suffix = path.suffix.lower()
        kind = "pictures" if suffix in suffixes else "foreign" if suffix in FOREIGN else "others"
        found[kind].append(path)
    return Inventory(folder=folder, **{kind: tuple(sorted(paths)) for kind, paths in found.items()})
