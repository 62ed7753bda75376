"""Reads YOLO's data.yaml exactly as it was written."""

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import yaml

from .damage import Damage, brief
from .layout import SPLITS
from .lookup import locate
from .text import read_lines, read_text

NOTHING = {"", "~", "null", "Null", "NULL"}  # as YAML writes it
PATHS = ("path", *(alias for aliases in SPLITS.values() for alias in aliases))
KEYS = {*PATHS, "names", "nc", "kpt_shape"}


class AsWritten(yaml.BaseLoader):
    """Reads every value as text, so that yes, null and 007 stay yes, null and 007."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Raises yaml.constructor.ConstructorError for a key that occurs twice: YAML would drop the first value."""
        keys = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if twice := sorted({key for key in keys if keys.count(key) > 1}):
            raise yaml.constructor.ConstructorError(None, None, f"the key {twice[0]!r} occurs twice", node.start_mark)
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the content of a YAML file, all values as text. Raises Damage."""
    try:
        content = yaml.load(slashes(read_text(path)), AsWritten)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        entry = f"line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or " ".join(str(error).split())
        raise Damage(path, entry, f"is not YAML ({problem})") from error
    except RecursionError as error:
        raise Damage(path, "", "is nested too deeply") from error
    if not isinstance(content, dict):
        raise Damage(path, "", "is not a data.yaml of YOLO: it has no names")
    return plain_keys(content, path)


def plain_keys(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the content with YOLO's own keys in small letters. Raises Damage if a key then occurs twice."""
    found: dict[str, Any] = {}
    for key, value in content.items():
        plain = key.lower() if isinstance(key, str) and key.lower() in KEYS else key
        if plain in found:
            raise Damage(path, plain, "the key occurs twice, in small and in capital letters")
        found[plain] = value
    return found


def names_splits(content: dict[str, Any]) -> bool:
    """Whether a YAML file has a training set, and another set or the number of classes."""
    others = {*SPLITS["val"], *SPLITS["test"], "nc"} & content.keys()
    return bool(others) and any(isinstance(content.get(key), (str, list)) for key in SPLITS["train"])


def slashes(text: str) -> str:
    """Replace the backslashes of quoted Windows paths by /. YAML would read them as escapes."""
    lines, key = [], ""
    for line in text.lstrip("\ufeff").splitlines(keepends=True):
        if match := re.match(r"(\w+)\s*:", line):
            key = match[1]
        if key.lower() in PATHS:
            line = re.sub(r'"[^"]*"', lambda quoted: quoted[0].replace("\\", "/"), line)
        lines.append(line)
    return "".join(lines)


def read_names(content: dict[str, Any], path: Path) -> dict[int, str]:
    """Return the class names of a data.yaml by their numbers. Raises Damage."""
    names = content.get("names")
    if isinstance(names, str) and names:
        with suppress(OSError):  # too long for the name of a file
            listed, _ = locate(names, [path.parent])
            if listed and listed.is_file():
                return names_of_file(listed)
    if isinstance(names, list):
        names = {str(i): name for i, name in enumerate(names)}
    if not isinstance(names, dict) or not names:
        raise Damage(path, "names", f"must be a list of names, or names by their numbers; it is {brief(names)}")
    wrong = next((key for key in names if not re.fullmatch(r"\d+", key)), None)
    if wrong is not None:
        raise Damage(path, "names", f"the key {wrong!r} is not a class number")
    if len({int(key) for key in names}) < len(names):
        raise Damage(path, "names", "a class number occurs twice")
    return checked_names({int(key): name for key, name in names.items()}, path)


def names_of_file(path: Path) -> dict[int, str]:
    """Return the names in a file with one name per line, numbered from 0. Raises Damage."""
    lines = [line.strip() for line in read_lines(path)]
    while lines and not lines[-1]:
        lines.pop()
    return checked_names(dict(enumerate(lines)), path)


def checked_names(names: dict[int, str], path: Path) -> dict[int, str]:
    """Return the names, sorted by their numbers. Raises Damage for equal or empty names, and for names that are not
    text."""
    holders: dict[str, int] = {}
    for number, name in sorted(names.items()):
        if not isinstance(name, str) or not name.strip():
            raise Damage(path, "names", f"class {number} has no name: {brief(name)}")
        if name in holders:
            raise Damage(path, "names", f"the classes {holders[name]} and {number} are both called {name!r}")
        holders[name] = number
    if not holders:
        raise Damage(path, "names", "there are none")
    return {number: name for name, number in holders.items()}


def keypoint_shape(content: dict[str, Any], path: Path) -> tuple[int, int] | None:
    """The shape of the key points in a dataset of poses, [points, numbers per point]; None for other datasets.

    Raises Damage if it is stated in another form.
    """
    shape = content.get("kpt_shape", "")
    if isinstance(shape, str) and shape.strip() in NOTHING:
        return None
    if isinstance(shape, list) and len(shape) == 2 and all(re.fullmatch(r"[1-9]\d*", str(x)) for x in shape):
        return int(shape[0]), int(shape[1])
    raise Damage(path, "kpt_shape", f"must be [points, numbers per point], such as [17, 3]; it is {brief(shape)}")


def read_darknet(path: Path) -> dict[str, Any]:
    """Return the content of Darknet's obj.data, lines of key = value, as that of a data.yaml. Raises Damage."""
    content: dict[str, Any] = {}
    for number, line in enumerate(read_lines(path), 1):
        key, equals, value = (x.strip() for x in line.partition("="))
        if not line.strip() or line.lstrip().startswith(("#", ";")):
            continue
        if not equals or key.lower() in content:
            fault = "occurs twice" if equals else "is not followed by ="
            raise Damage(path, f"line {number}", f"{key!r:.60} {fault}")
        near = value.removeprefix("data/")  # Darknet runs in the folder above; CVAT writes its paths so
        here, there = (os.path.exists(path.parent / x) for x in (value, near))
        content[key.lower()] = near if there and not here else value
    return {key: value for key, value in content.items() if key in ("train", "valid", "test", "names") and value}
