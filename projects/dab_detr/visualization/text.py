"""Text in pictures: any class name, in fonts that have its characters. No failure here ends a training."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cache, lru_cache

import matplotlib
from matplotlib import font_manager
from matplotlib.ft2font import FT2Font

BASE = "DejaVu Sans"  # comes with matplotlib
NOT_FOR_TEXT = ("cm", "Last Resort", "STIX", "DejaVu Math")
LONGEST = 32  # characters of a name

logger = logging.getLogger(__name__)


@contextmanager
def drawing(what: str) -> Iterator[None]:
    """Keep a failed drawing from ending a training: a warning then says that `what` is missing."""
    try:
        yield
    except Exception as error:
        logger.warning("%s could not be drawn (%s: %s); everything else continues.", what, type(error).__name__, error)


@contextmanager
def plain_text(texts: Iterable[str]) -> Iterator[None]:
    """Let matplotlib draw `$` and `\\` unchanged, and find the characters of these texts in all installed fonts.

    Figures must also be saved inside, because matplotlib makes some texts only then.
    """
    families, _ = fonts_for("".join(texts))
    with matplotlib.rc_context({"text.parse_math": False, "text.usetex": False, "font.family": families}):
        yield


def readable(text: str, number: int, *, longest: int = LONGEST) -> str:
    """A class name, or a text about an object of a class, that can be drawn.

    "?" replaces characters that no installed font has. "class" and the number of the class replace a text with no other
    characters. A text of more than `longest` characters is cut.
    """
    _, missing = fonts_for(text)
    drawn = "".join("?" if x in missing else " " if x.isspace() else x for x in text)
    if missing and not any(map(str.isalpha, drawn)):
        drawn = f"class {number} {drawn.replace('?', '').strip()}".strip()
    if len(drawn) > longest:
        drawn = f"{drawn[: longest - 1]}…"
    return f" {drawn}" if drawn.startswith("_") else drawn or f"class {number}"  # matplotlib's legends skip "_"


def fonts_for(text: str) -> tuple[list[str], frozenset[str]]:
    """Font families to draw `text` with, in the order to try them, and the characters that none of them has."""
    families, missing = search_fonts(frozenset(text) - characters_of(font_manager.findfont(BASE)))
    return list(families), missing


@lru_cache(maxsize=256)
def search_fonts(needed: frozenset[str]) -> tuple[tuple[str, ...], frozenset[str]]:
    """Font families for characters that the base font lacks, and the characters that no font has."""
    families, needed = [BASE], frozenset(x for x in needed if not x.isspace())
    for font in font_manager.fontManager.ttflist if needed else ():
        if font.name.startswith(NOT_FOR_TEXT) or "Emoji" in font.name or font.name in families:
            continue
        found = needed & characters_of(font.fname)
        if found:
            families.append(font.name)
            needed -= found
    return tuple(families), needed


@cache
def characters_of(path: str) -> frozenset[str]:
    """The characters of a font file; none if it cannot be read."""
    try:
        return frozenset(map(chr, FT2Font(path).get_charmap()))
    except Exception:  # one bad font on this machine should not matter
        return frozenset()
