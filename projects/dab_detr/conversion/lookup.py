"""Finds the files that a dataset's own paths mean, even if the paths come from another machine."""

import math
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from urllib.parse import unquote

from .layout import split_name

UPLOADED = "^[0-9a-f]{8}-"  # what Label Studio puts before the names of uploaded files


class PathIndex:
    """Finds files of a folder by a path whose beginning may come from another machine.

    Tables with the ends of all paths make a search independent of how many files have one base name.
    """

    def __init__(self, folder: Path, paths: Iterable[Path]):
        self.folder = folder
        self.paths = {str(path): path for path in paths}
        self.by_end: dict[tuple[str, ...], list[Path]] = defaultdict(list)
        self.by_stem: dict[tuple[str, ...], list[Path]] = defaultdict(list)
        for path in self.paths.values():
            *folders, name = path.relative_to(folder).parts
            for table, last in ((self.by_end, name), (self.by_stem, path.stem)):
                parts = tuple(map(fold, (*folders, last)))
                for start in range(len(parts)):
                    table[parts[start:]].append(path)

    def exact(self, text: str, base: Path) -> Path | None:
        """The file at exactly this path from a folder, or None."""
        paths = (os.path.normpath(os.path.join(base, x)) for x in (text, text.replace("\\", "/")))
        return next((self.paths[path] for path in paths if path in self.paths), None)

    def find(self, text: str, near: Path | None = None) -> list[Path]:
        """Return the file at exactly this path from `near`, otherwise those whose path shares the longest end with it.

        near: among several files, those in or below this folder are chosen. Returns several if that does not decide.
        """
        if near and (found := self.exact(text, near)):
            return [found]
        if found := self.by_end.get(tuple(map(fold, as_written(text)))):
            return self.nearest(found, as_written(text)[-1], near)
        for parts in spellings(text):
            has_suffix = bool(os.path.splitext(parts[-1])[1])
            found = self.closest(self.by_end, parts) or ([] if has_suffix else self.closest(self.by_stem, parts))
            if found:
                return self.nearest(found, parts[-1], near)
        return []

    @staticmethod
    def closest(table: Mapping[tuple[str, ...], list[Path]], parts: Sequence[str]) -> list[Path]:
        """Return the files in a table that share the longest end with `parts`."""
        ends = tuple(map(fold, parts))
        return next((table[ends[start:]] for start in range(len(ends)) if ends[start:] in table), [])

    @staticmethod
    def nearest(found: list[Path], name: str, near: Path | None) -> list[Path]:
        """Return the files that are spelled like the name, then those in or below a folder, if there are any."""
        if len(found) > 1:
            found = [path for path in found if path.name == name] or found
        if len(found) > 1 and near:
            found = [path for path in found if str(path).startswith(os.path.join(near, ""))] or found
        return found

    def reach(self, text: str, path: Path) -> float:
        """The number of folders that the ends of a path and of a file share; infinite if the file has all of them."""
        here = tuple(map(fold, path.relative_to(self.folder).parts))
        for parts in (as_written(text), path_parts(text)):
            ends = tuple(map(fold, parts))
            if ends and (here[-len(ends) :] == ends or (*here[:-1], fold(path.stem))[-len(ends) :] == ends):
                return math.inf
        return shared_end(here[:-1], path_parts(text)[:-1])


def as_written(text: str) -> list[str]:
    """The folders and the name of a path of this system, with all their spaces and signs."""
    return [part for part in text.split("/") if part not in ("", ".", "..")]


def spellings(text: str) -> list[list[str]]:
    """The parts that a path may mean: as they are, without an address's signs, and without Label Studio's digits."""
    plain, unquoted = path_parts(text), path_parts(unquote(text))
    uploaded = [*unquoted[:-1], re.sub(UPLOADED, "", unquoted[-1])] if unquoted else []
    return [parts for parts in (plain, unquoted, uploaded) if parts]


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
    parts = os.path.normpath(text.replace("\\", "/")).split("/")
    return [part for part in parts if part not in ("", ".", "..")]


def shared_end(one: Sequence[str], other: Sequence[str]) -> int:
    """The number of last folders that two paths share."""
    count = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if fold(a) != fold(b):
            break
        count += 1
    return count


def is_elsewhere(text: str) -> bool:
    """Whether a path states a machine: it is absolute on any system, an address, or Label Studio's."""
    return text.startswith(("/", "\\")) or bool(re.match(r"[A-Za-z]:[\\/]", text)) or "://" in text or "?d=" in text


def locate(text: str, bases: Sequence[Path], *, moved: bool = False) -> tuple[Path | None, bool]:
    """Find the file or folder that a path means. Also returns whether only the end of the path found it.

    bases: the folders that it may start from, in order. Backslashes, superfluous `../` from Roboflow, and the beginning
        of a path from another machine do not matter. Returns None if nothing is found.
    moved: whether all paths beside this one come from another place too, so that more of its beginning may differ.
    """
    if "\0" in text:
        return None, False
    if found := located_exactly(text, bases):
        return found, False
    parts = path_parts(text)
    for start in range(len(parts)):
        for base in bases:
            if not may_drop(text, parts[:start], parts[start:], base, moved=moved):
                continue
            if (path := base.joinpath(*parts[start:])).exists():
                return path, not text.replace("\\", "/").startswith("../")
    return None, False


def located_exactly(text: str, bases: Sequence[Path]) -> Path | None:
    """The first file or folder at exactly this path from one of the folders, or None."""
    paths = (Path(os.path.normpath(base / x)) for base in bases for x in (text, text.replace("\\", "/")))
    return next((path for path in paths if path.exists()), None)


def may_drop(text: str, dropped: Sequence[str], rest: Sequence[str], base: Path, *, moved: bool) -> bool:
    """Whether the first folders of a path may be ignored, so that the rest of it is looked up.

    The name of a split must stay: test/images is not images. A relative path may only lose the folder that it starts
    from, or what is before a split.
    """
    split = any(split_name(os.path.splitext(part)[0]) for part in rest)
    if not dropped or split:
        return True
    if any(map(split_name, dropped)):
        return False
    return is_elsewhere(text) or fold(dropped[-1]) == fold(base.name) or (moved and len(rest) > 1)


def locate_all(lines: Iterable[str], bases: Sequence[Path]) -> list[tuple[str, Path | None, bool]]:
    """Find the files that the lines of a list mean; see locate.

    If some lines are found exactly, the list was written for this folder. Relative paths must then match with all their
    folders, and no other line may lead to a file that was found exactly.
    """
    lines = [line.strip() for line in lines if line.strip()]
    exact = {line: path for line in lines if "\0" not in line and (path := located_exactly(line, bases))}
    taken, found = set(exact.values()), []
    for line in lines:
        path, foreign = locate(line, bases, moved=not exact)
        if line not in exact and exact and (path in taken or not is_elsewhere(line)):
            path, foreign = None, False
        found.append((line, path, foreign))
    return found
