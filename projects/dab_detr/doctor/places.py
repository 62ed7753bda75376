"""Find image files: which ones exist, and where the missing ones may be."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from urllib.parse import unquote

from detectron2.utils.file_io import PathManager

from ..data import folders
from ..data.content import first_few


def files_present(root: str, names: Sequence[str]) -> dict[str, bool]:
    """Whether each file exists. Local folders are listed once each; elsewhere each file is one request."""
    if "://" in root:
        return {name: PathManager.isfile(os.path.join(root, name)) for name in names}
    listings: dict[str, set[str]] = {}
    present = {}
    for file_name in names:
        folder, name = os.path.split(os.path.join(root, file_name))
        if folder not in listings:
            entries = os.scandir(folder) if os.path.isdir(folder) else ()
            listings[folder] = {e.name for e in entries if os.path.isfile(e.path)}  # False for a link to itself
        present[file_name] = name in listings[folder]
    return present


def files_below(root: str) -> Iterator[str]:
    """Paths, relative to the local folder `root`, of all files in it and in its sub-folders, except hidden ones."""
    for path in sorted(folders.files_below(root)):
        if path.is_file():  # no link that leads nowhere
            yield os.path.relpath(path, root)


def place_hint(root: str, missing: Sequence[str]) -> str:
    """A hint where missing images are, or an empty string."""
    if not missing or "://" in root:
        return ""
    name = missing[0]
    beside = [entry.path for entry in os.scandir(root) if os.path.isdir(entry.path)]
    for folder in (os.path.dirname(root.rstrip("/")), *beside):
        if os.path.isfile(os.path.join(folder, name)):
            return f"they are found from {folder}"
    if "\\" in name and os.path.isfile(os.path.join(root, name.replace("\\", "/"))):
        return "they are found with / instead of \\; --fix writes that"
    places = found_by_base_name(root, missing)
    if places:
        first, place = next(iter(places.items()))
        return f"{len(places)} of them are found by their base name ({first} as {place}); --fix writes these names"
    folder, base = os.path.split(os.path.join(root, name))
    stem = os.path.splitext(base)[0].lower()
    near = [x for x in os.listdir(folder) if os.path.splitext(x)[0].lower() == stem] if os.path.isdir(folder) else []
    return f"the folder has {first_few(sorted(near))}" if near else ""


def found_by_base_name(root: str, names: Sequence[str]) -> dict[str, str]:
    """Paths below `root` of images whose annotation file has paths of another machine or of a labeling server.

    An image is found if exactly one file has its base name, and no other image has found that file.
    """
    if not names or "://" in root or not os.path.isdir(root):
        return {}
    files: dict[str, list[str]] = defaultdict(list)
    for path in files_below(root):
        files[os.path.basename(path)].append(path)
    candidates = {name: {path for base in base_names(name) for path in files.get(base, ())} for name in names}
    found = {name: paths.pop() for name, paths in candidates.items() if len(paths) == 1}
    finders = Counter(found.values())
    return {name: path for name, path in found.items() if finders[path] == 1}


def base_names(name: str) -> set[str]:
    """Base names that a path of another system may mean.

    Label Studio writes `?d=folder/name.png` for files on its server, and eight digits and "-" before uploaded ones.
    """
    plain = re.split(r"[/\\=]", unquote(name))[-1]
    return {re.split(r"[/\\]", name)[-1], plain, re.sub(r"^[0-9a-f]{8}-", "", plain)}
