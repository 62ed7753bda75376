"""Checks that a yaml config is plain data before Detectron2 loads it, because its tags could run code."""

import os

import yaml
from detectron2.utils.file_io import PathManager

TUPLE = "tag:yaml.org,2002:python/tuple"  # the only Python tag in Detectron2's own configs


class PlainLoader(yaml.SafeLoader):
    """Loads numbers, strings, lists, dicts and tuples, and refuses every tag that names anything else."""


PlainLoader.add_constructor(TUPLE, lambda loader, node: tuple(loader.construct_sequence(node, deep=True)))


def read_yaml(path: str | os.PathLike) -> dict:
    """Read a yaml file of plain data; an empty one is an empty dict.

    Raises ValueError, naming the file, for a file that does not exist, is not yaml, does not hold keys with values, or
    has tags that would run code (`!!python/object/apply:...`).
    """
    local = PathManager.get_local_path(os.fspath(path))
    if not os.path.isfile(local):
        raise ValueError(f"config {path} does not exist, or is not a regular file")
    try:
        with open(local, encoding="utf-8") as file:
            content = yaml.load(file, PlainLoader)  # noqa: S506, a safe loader
    except yaml.constructor.ConstructorError as error:
        line = f", line {error.problem_mark.line + 1}" if error.problem_mark else ""
        raise ValueError(
            f"config {path}{line} is refused before any of it runs: {error.problem}. A yaml config holds plain "
            "data, and no Python tags except !!python/tuple"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"config {path} is not yaml: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict | None):
        raise ValueError(f"config {path} must hold keys and values, not a {type(content).__name__}")
    return content or {}


def check_yaml(path: str | os.PathLike) -> None:
    """Raise ValueError, as `read_yaml` does, if a yaml config or one of its `_BASE_` files is not plain data."""
    waiting, seen = [os.path.normpath(path)], set()
    while waiting:
        path = waiting.pop()
        if path in seen:
            raise ValueError(f"config {path} is a _BASE_ of itself")
        seen.add(path)
        bases = read_yaml(path).get("_BASE_", [])
        for base in [bases] if isinstance(bases, str) else bases:
            base = os.path.expanduser(base)
            absolute = os.path.isabs(base) or "://" in base
            waiting.append(base if absolute else os.path.normpath(os.path.join(os.path.dirname(path), base)))
