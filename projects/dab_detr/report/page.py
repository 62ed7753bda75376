"""The page of a report."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from ..visualization.html import filled
from .section import Section

TEMPLATE = Path(__file__).with_name("report.html")


def page(title: str, lead: str, sections: Sequence[Section]) -> str:
    """The HTML of a report. lead: a sentence at the top."""
    return filled(TEMPLATE, {"title": title, "lead": lead, "sections": [asdict(x) for x in sections]})
