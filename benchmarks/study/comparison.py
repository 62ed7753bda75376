"""Compares rows with their bases, against what the papers say."""

from collections.abc import Mapping, Sequence

from .figures import Runs
from .row import Row
from .rows import ROWS
from .statistics import (
    CONFIRMED,
    CONTRADICTED,
    OTHER,
    SAME,
    UNCONFIRMED,
    Difference,
    difference,
    final,
    significant_together,
    spread,
    verdict,
)

COLUMNS = ["AP", "compared with", "difference", "95 % interval", "p", "the papers say", "verdict"]
SHORT = {
    CONFIRMED: "Confirmed",
    CONTRADICTED: "Contradicted at this size",
    UNCONFIRMED: "Neither confirmed nor contradicted at this size",
    SAME: "The same sign as in the papers, but too few seeds to judge",
    OTHER: "Another sign than in the papers, but too few seeds to judge",
}


def by_row(results: Sequence[Mapping]) -> Runs:
    """The curves by row, in the order of ROWS, and by backbone and seed. Rows that no longer exist are left out."""
    found = {name: {} for name in ROWS}
    for x in (x for x in results if x["curve"] and x["row"] in found):
        found[x["row"]][x.get("backbone", ""), x["seed"]] = x["curve"]
    return {name: curves for name, curves in found.items() if curves}


def line(*cells: str) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def rule(head: Sequence[str]) -> str:
    """The line below the head of a Markdown table."""
    return f"|{'---|' * len(head)}"


def says(row: Row) -> str:
    """What the papers say of the AP of a row, against its base."""
    return "more" if row.claim > 0 else "less"


def found_for(row: Row, runs: Runs) -> Difference | None:
    """The difference of a row to its base; None for a row that is its own base or has no run in common with it."""
    return None if row.name == row.base else difference(runs[row.name], runs.get(row.base, {}))


def compared(row: Row, runs: Runs) -> list[str]:
    """The cells below `COLUMNS` for a row that has runs."""
    aps = str(spread([final(curve) for curve in runs[row.name].values()]))
    if row.name == row.base:
        return [aps, *"-" * (len(COLUMNS) - 1)]
    claim = f"{says(row)} ({row.source})" if row.claim else "-"
    found, base = found_for(row, runs), ROWS[row.base].full_name
    if found is None:
        return [aps, base, "-", "-", "-", claim, "no common run"]
    p = "-" if found.p is None else f"{found.p:.3f}" if found.p >= 0.001 else "< 0.001"
    interval = "{:+.1f} to {:+.1f}".format(*found.interval) if found.interval else "-"
    return [aps, base, f"{found.spread:+}", interval, p, claim, verdict(row.claim, found)]


def comparison(title: str, rows: Sequence[Row], runs: Runs, picture: str, text: str = "") -> str:
    """A section with a table of rows against their bases, and a sentence about the extremes."""
    head = ["row", *COLUMNS]
    return "\n".join(
        [
            f"## {title}",
            "",
            *([text, ""] if text else []),
            line(*head),
            rule(head),
            *(line(row.label, *compared(row, runs)) for row in rows),
            "",
            *extremes(rows, runs),
            f"![Differences in AP]({picture})",
        ]
    )


def extremes(rows: Sequence[Row], runs: Runs) -> list[str]:
    """A sentence about the largest gain and the largest loss in a table, and an empty line; nothing without both."""
    found = {row.label: x.spread for row in rows if (x := found_for(row, runs))}
    most, least = (f(found, key=lambda name: found[name].mean, default=None) for f in (max, min))
    gain = f"The largest gain is {found[most]:+}, of the row *{most}*." if most and found[most].mean > 0 else ""
    loss = f"The largest loss is {found[least]:+}, of the row *{least}*." if least and found[least].mean < 0 else ""
    text = " ".join(filter(None, (gain, loss)))
    return [text, ""] if text else []


def in_short(runs: Runs) -> str:
    """A list of the papers' claims by verdict, each with its difference in AP, and guesses for other signs."""
    claims = {name: found_for(ROWS[name], runs) for name in runs if ROWS[name].claim}
    found = {name: x for name, x in claims.items() if x}
    lines = ["## The claims in short", ""]
    for kind, words in SHORT.items():
        names = [name for name, x in found.items() if verdict(ROWS[name].claim, x) == kind]
        lines += [f"- {words}:" if names else f"- {words}: none.", *(f"    - {claim(name, found)}" for name in names)]
    if ps := {name: x.p for name, x in found.items() if x.p is not None}:
        kept = significant_together(ps)
        others = f"these stay below it: {', '.join(ROWS[name].full_name for name in kept)}" if kept else "none does"
        lines += [
            "",
            f"These are {len(ps)} tests, each with p < 0.05 as its limit. With Holm's correction for their number, "
            f"{others}.",
        ]
    return "\n".join(lines)


def claim(name: str, found: Mapping[str, Difference]) -> str:
    """A claim of the papers in words, beside what was measured."""
    row, measured = ROWS[name], found[name].spread
    guess = f" A guess: {row.guess}" if row.guess and row.claim * measured.mean < 0 else ""
    base = ROWS[row.base].full_name
    return f"{row.full_name} against {base}: the papers say {says(row)} AP, here {measured:+}.{guess}"


def trainings(results: Sequence[Mapping]) -> str:
    """The number of trainings, their time, commits and machines."""
    commits, machines = ("; ".join(sorted({x[key] for x in results})) for key in ("commit", "machine"))
    hours = sum(x["seconds"] for x in results) / 3600
    return (
        f"{len(results)} trainings, whose steps took {hours:.1f} hours in sum, without evaluations (commits: "
        f"{commits}; machine: {machines})"
    )
