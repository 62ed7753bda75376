"""Reads text files in any common encoding."""

import codecs
import json
from contextlib import suppress
from pathlib import Path
from typing import Any

from .damage import Damage

GZIP = b"\x1f\x8b"  # its first bytes

# utf-32 comes first: its little-endian mark begins with that of utf-16
MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def decode(data: bytes, path: Path, stated: str | None = None) -> str:
    """Return the text of a file's bytes.

    The byte order mark decides. Without one, it is UTF-16 if every other byte is zero, otherwise the encoding that the
    file states (`stated`), otherwise UTF-8. Text that is not UTF-8 is read as Windows' cp1252. Raises Damage, naming
    the file, if its mark is wrong or it is compressed.
    """
    if data.startswith(GZIP):
        raise Damage(path, "", "is compressed with gzip: unpack it (gunzip)")
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), None) or unmarked(data)
    if encoding == "utf-8" and stated and extends_ascii(stated):
        with suppress(UnicodeDecodeError):
            return data.decode(stated)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding != "utf-8":
            raise Damage(path, "", f"is not {encoding}, as its first bytes say ({error.reason})") from error
    return data.decode("cp1252", errors="replace")


def extends_ascii(encoding: str) -> bool:
    """Whether an encoding is known and writes ASCII as it is, so that a file in it can state it."""
    try:
        return "<?xml".encode(encoding) == b"<?xml"
    except LookupError:
        return False


def unmarked(data: bytes) -> str:
    """Guess the encoding of bytes without a byte order mark: utf-16-le, utf-16-be or utf-8."""
    start = data[:200]
    zeros = [start[first::2].count(0) / max(1, len(start) // 2) for first in (0, 1)]
    if zeros[1] > 0.5 > zeros[0]:
        return "utf-16-le"
    return "utf-16-be" if zeros[0] > 0.5 > zeros[1] else "utf-8"


def read_text(path: Path) -> str:
    """Return the text of a file. Raises Damage, naming it, if it cannot be read."""
    try:
        return decode(path.read_bytes(), path)
    except OSError as error:
        raise Damage(path, "", f"cannot be read ({error.strerror or error})") from error


def read_lines(path: Path) -> list[str]:
    """Return the lines of a file. Only line feeds and carriage returns end a line."""
    return read_text(path).replace("\r\n", "\n").replace("\r", "\n").split("\n")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file. Raises Damage if it is not JSON or holds a key of an object twice."""
    try:
        return json.loads(read_text(path), object_pairs_hook=no_key_twice)
    except RecursionError as error:
        raise Damage(path, "", "is nested too deeply") from error
    except ValueError as error:
        raise error if isinstance(error, Damage) else Damage(path, "", f"is not JSON ({error})") from error


def no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return the pairs as a dict. Raises ValueError if a key occurs twice: json would drop the first value."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))
        raise ValueError(f"the key {twice!r} occurs twice in one object")
    return found
