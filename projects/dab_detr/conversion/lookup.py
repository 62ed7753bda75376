"""Finds the files that a dataset's own paths mean, even if the paths come from another machine."""

import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import unquote

UPLOADED = "^[0-9a-f]{8}-"  # what Label Studio puts before the names of uploaded files


class PathIndex:
    """Finds files of a folder by a path whose beginning may come from another machine."""

    def __init__(self, folder: Path, paths: Iterable[Path]):
        self.folder = folder
        self.by_name: dict[str, list[Path]] = defaultdict(list)
        self.by_stem: dict[str, list[Path]] = defaultdict(list)
        for path in paths:
            self.by_name[fold(path.name)].append(path)
            self.by_stem[fold(path.stem)].append(path)

    def find(self, text: str, near: Path | None = None) -> list[Path]:
        """Return the files whose path shares the longest end with `text`; several if that does not decide.

        near: among several files, those in or below this folder are chosen.
        """
        plain, unquoted = path_parts(text), path_parts(unquote(text))
        uploaded = [*unquoted[:-1], re.sub(UPLOADED, "", unquoted[-1])] if unquoted else []
        for parts in filter(None, (plain, unquoted, uploaded)):
            candidates = self.by_name.get(fold(parts[-1]), [])
            if not candidates and not os.path.splitext(parts[-1])[1]:
                candidates = self.by_stem.get(fold(parts[-1]), [])
            if candidates:
                return self.closest(candidates, parts, near)
        return []

    def closest(self, candidates: Sequence[Path], parts: Sequence[str], near: Path | None) -> list[Path]:
        """Return the candidates that share the longest end with `parts`, then those spelled alike, then those near."""
        lengths = {path: shared_end(path.relative_to(self.folder).parts[:-1], parts[:-1]) for path in candidates}
        found = [path for path in candidates if lengths[path] == max(lengths.values())]
        for wanted in (lambda path: path.name == parts[-1], lambda path: near is None or path.is_relative_to(near)):
            found = [path for path in found if wanted(path)] or found
        return found


def fold(name: str) -> str:
    """A name in one case and one Unicode form, to compare it across systems."""
    return unicodedata.normalize("NFC", name).casefold()


def path_parts(text: str) -> list[str]:
    """The folders and the name of a path of any system, or of the path inside an address of Label Studio."""
    text = text.strip()
    text = text.split("?d=", 1)[1] if "?d=" in text else text
    if "://" in text:
        text = re.sub(r"[?#].*", "", text)
    text = re.sub(r"^([A-Za-z]:|[a-z]+://[^/]*)(?=[\\/])", "", text)
    return [part for part in re.split(r"[\\/]+", text) if part not in ("", ".", "..")]


def shared_end(one: Sequence[str], other: Sequence[str]) -> int:
    """The number of last folders that two paths share."""
    count = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if fold(a) != fold(b):
            break
        count += 1
    return count


def locate(text: str, bases: Sequence[Path]) -> tuple[Path | None, bool]:
    """Find the file or folder that a path means. Also returns whether only the end of the path found it.

    bases: the folders that it may start from, in order. Backslashes, superfluous `../` from Roboflow, and the beginning
        of a path from another machine do not matter. Returns None if nothing is found.
    """
    if "\0" in text:
        return None, False
    plain = [text, text.replace("\\", "/")]
    for base in bases:
        for candidate in plain:
            if (path := Path(os.path.normpath(base / candidate))).exists():
                return path, False
    parts = path_parts(text)
    for start in range(len(parts)):
        for base in bases:
            if (path := base.joinpath(*parts[start:])).exists():
                return path, not text.replace("\\", "/").startswith("../")
    return None, False
