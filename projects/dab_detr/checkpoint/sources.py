"""Sources of weights: a path, a URL, the name of a released model, or a repository of the Hugging Face hub."""

import json
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from filelock import FileLock

from ..download import cache_folder, download, local_path
from ..zoo import table
from ..zoo.table import ReleasedModel, released
from . import hub
from .integrity import sha256_of
from .writing import atomic_write


def local_weights(path: str | os.PathLike) -> str:
    """Return the file or folder on this machine for an address of weights. Each address is downloaded once.

    path: a file, a folder written by transformers, a URL, `zoo://name` for a model of `zoo.table`, or
        `hf://owner/repository` for one on the Hugging Face hub.

    Raises OSError for weights that cannot be downloaded, and ValueError for a name that does not exist.
    """
    path = os.fspath(path)
    if path.startswith(table.PREFIX):
        return released_weights(released(path))
    if path.startswith(hub.PREFIX):
        return hub.hub_path(path)
    return local_path(path)


def released_weights(model: ReleasedModel) -> str:
    """Return the file of a released model in the cache. It is downloaded if it is missing, and checked.

    Raises OSError if it cannot be downloaded, and for a wrong file. The message names the file and its path.
    """
    path = cache_folder() / "zoo" / f"{model.name}.pth"
    if not path.is_file():
        if model.url is None:
            raise OSError(
                f"{model.name} cannot be downloaded by a program: find the checkpoint of {model.what} (AP {model.ap}) "
                f"at {model.page} and save it as {path}"
            )
        try:
            download(model.url, path, partial(check_download, model=model, record=record_of(path)))
        except OSError as error:
            raise OSError(f"{error}. To use the same command again, save it as {path}") from error
    if differences := differences_of(path, model, record_of(path)):
        raise OSError(f"{path} is not the file of {model.name}: {differences}. Remove it to download it again")
    return str(path)


def record_of(path: Path) -> Path:
    """The file beside a download that keeps its size and hash."""
    return path.with_suffix(".json")


def check_download(path: Path, *, model: ReleasedModel, record: Path) -> None:
    """Raise OSError unless a file that was just downloaded is the right one."""
    if differences := differences_of(path, model, record):
        trust = f"; to trust the new file, remove {record}" if record.is_file() and not model.sha256 else ""
        raise OSError(f"the server's file is not that of {model.name}: {differences}{trust}")


def differences_of(path: Path, model: ReleasedModel, record: Path) -> str:
    """Compare a file with the size and hash in the table, or if it has none, with those of the first download.

    Returns the differences in words, empty for none. The first download stores its size and hash in `record`.
    """
    found = {"size": path.stat().st_size, "sha256": sha256_of(path)}
    published = {key: getattr(model, key) for key in found if getattr(model, key) is not None}
    differences = compare(found, published)
    if model.sha256 or differences:
        return differences
    with FileLock(f"{record}.lock"):
        if not record.is_file():
            with atomic_write(record) as file:
                file.write(json.dumps(found | {"source": model.url or model.page}, indent=2).encode())
    return compare(found, json.loads(record.read_text(encoding="utf-8")))


def compare(found: Mapping, known: Mapping) -> str:
    """The differences of two descriptions of a file in the keys that both have, in words."""
    return ", ".join(f"its {x} is {found[x]}, not {known[x]}" for x in found if found[x] != known.get(x, found[x]))
