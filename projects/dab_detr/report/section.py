"""The parts of a report. All text in them is plain; the page escapes it."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of numbers and texts under a header; the first column is text. An empty header is left out."""

    rows: Sequence[Sequence[str]]
    header: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class Figure:
    """A picture as a data address, with its caption."""

    image: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a report with a title.

    note: a sentence or two below the title.
    commands: pairs of a description and a command.
    folded: the title of a long text, and the text, which the reader unfolds.
    """

    title: str
    note: str = ""
    tables: Sequence[Table] = ()
    figures: Sequence[Figure] = ()
    commands: Sequence[tuple[str, str]] = ()
    folded: tuple[str, str] | None = field(default=None)


def number(value: float | str | None, digits: int = 1) -> str:
    """A number as text for a report, or a dash for a missing one."""
    try:
        value = float(value)
    except (TypeError, ValueError):
        return "–"
    return "–" if value != value else f"{value:,.{digits}f}"
