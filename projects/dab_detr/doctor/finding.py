"""The findings of a check."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum

from ..data.content import SHOWN, first_few


class Severity(Enum):
    """The severity of a finding: an error stops training, a warning costs accuracy, a note is good to know."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One kind of fault and every place where it occurs.

    kind: the fault in a few words, the same for every dataset.
    severity: how bad it is.
    text: the fault, as a sentence.
    places: the places, usually "annotation 7 (image.jpg)"; empty if it concerns the file as a whole.
    advice: a remedy, or further facts; may be empty.
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
        """One finding whose text is the number of places and `what`; an empty list if there are no places."""
        places = tuple(places)
        text = f"{len(places)} {what}"
        return [cls(kind=kind, severity=severity, text=text, places=places, advice=advice)] if places else []

    def __str__(self) -> str:
        return self.sentence()

    def sentence(self, shown: int | None = SHOWN) -> str:
        """The finding in one line, with the first `shown` places, or all of them if None."""
        places = f": {first_few(self.places, shown=shown)}" if self.places else ""
        return f"{self.text}{places}{'; ' if self.advice else ''}{self.advice}"
