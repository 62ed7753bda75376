"""What a check has found."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import Enum
from typing import Any

_SHOWN = 5  # ids or names that a message lists


class Severity(Enum):
    """How bad a finding is: an error stops training, a warning costs accuracy, a note is good to know."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One kind of fault and every place where it is.

    Attributes:
        kind: the fault in a few words, the same for every dataset.
        severity: how bad it is.
        text: what is wrong, in words.
        places: where, usually "annotation 7 (image.jpg)"; empty where it is the file as a whole.
        advice: what else there is to say; may be empty.
    """

    kind: str
    severity: Severity
    text: str
    places: tuple[str, ...] = ()
    advice: str = ""

    @classmethod
    def counted(
        cls, kind: str, severity: Severity, what: str, places: Iterable[str], advice: str = ""
    ) -> "list[Finding]":
        """One finding whose text is the number of places and `what`; none where there are no places."""
        places = tuple(places)
        text = f"{len(places)} {what}"
        return [cls(kind=kind, severity=severity, text=text, places=places, advice=advice)] if places else []

    def __str__(self) -> str:
        return self.sentence()

    def sentence(self, shown: int | None = _SHOWN) -> str:
        """All of it in one line, with the first `shown` places, or with None every one."""
        places = f": {few(self.places, shown=shown)}" if self.places else ""
        return f"{self.text}{places}{'; ' if self.advice else ''}{self.advice}"


def few(values: Iterable[Any], show: Callable[[Any], str] = str, shown: int | None = _SHOWN) -> str:
    """The first few of `values` in words, and how many more there are."""
    values = list(values)
    words = ", ".join(show(value) for value in values[:shown])
    return words if shown is None or len(values) <= shown else f"{words} and {len(values) - shown} more"
