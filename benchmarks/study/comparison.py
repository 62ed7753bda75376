"""Compares rows with the one that they share as a base, against what the papers say."""

from collections.abc import Mapping, Sequence

from .figures import Runs
from .rows import CONVERGENCE, ROWS, Row
from .statistics import CONFIRMED, CONTRADICTED, UNCONFIRMED, difference, final, spread, verdict

COLUMNS = ["AP", "difference", "p", "the papers say", "verdict"]
SHORT = {
    CONFIRMED: "Confirmed",
    CONTRADICTED: "Contradicted at this size",
    UNCONFIRMED: "Neither confirmed nor contradicted at this size",
}


def by_row(results: Sequence[Mapping]) -> Runs:
    """The curves by row, in the order of ROWS, and by backbone and seed."""
    found = {name: {} for name in ROWS}
    for x in (x for x in results if x["curve"]):
        found[x["row"]][x.get("backbone", ""), x["seed"]] = x["curve"]
    return {name: curves for name, curves in found.items() if curves}


def line(*cells: str) -> str:
    """A line of a Markdown table."""
    return f"| {' | '.join(cells)} |"


def rule(head: Sequence[str]) -> str:
    """The line below the head of a Markdown table."""
    return f"|{'---|' * len(head)}"


def compared(row: Row, runs: Runs) -> list[str]:
    """The cells below `COLUMNS` for a row that has runs."""
    aps = str(spread([final(curve) for curve in runs[row.name].values()]))
    if row.name == row.base:
        return [aps, "-", "-", "-", "-"]
    claim = {1: f"more ({row.source})", -1: f"less ({row.source})", 0: "-"}[row.claim]
    found = difference(runs[row.name], runs.get(row.base, {}))
    if found is None:
        return [aps, "-", "-", claim, "no common run"]
    p = "-" if found.p is None else f"{found.p:.3f}"
    return [aps, f"{found.spread:+}", p, claim, verdict(row.claim, found)]


def comparison(title: str, rows: Sequence[Row], runs: Runs, picture: str) -> str:
    """A section with a table of rows against their base."""
    base, head = ROWS[rows[0].base], ["row", *COLUMNS]
    return "\n".join(
        [
            f"## {title}",
            "",
            f"{base.label} has AP {spread([final(curve) for curve in runs[base.name].values()])}. Each row is compared "
            "with those of its runs that have the row's seeds and backbone.",
            "",
            line(*head),
            rule(head),
            *(line(row.label, *compared(row, runs)) for row in rows),
            "",
            f"![Differences to {base.label}]({picture})",
        ]
    )


def in_short(runs: Runs) -> str:
    """A list of the papers' claims by verdict, each with its difference in AP."""
    claims = [ROWS[name] for name in runs if ROWS[name].claim and ROWS[name].base in runs]
    found = [(row, difference(runs[row.name], runs[row.base])) for row in claims]
    verdicts = {row.name: (verdict(row.claim, x), x) for row, x in found if x}
    groups = {words: [name for name, (text, _) in verdicts.items() if text == kind] for kind, words in SHORT.items()}
    if few := [name for name, (text, _) in verdicts.items() if text not in SHORT]:
        groups["Too few seeds to judge"] = few
    lines = []
    for words, names in groups.items():
        items = [f"{claim_of(ROWS[name])}: {verdicts[name][1].spread:+}" for name in names]
        lines += [f"- {words}:" if items else f"- {words}: none.", *(f"    - {item}" for item in items)]
    return "\n".join(["## The claims in short", "", *lines])


def claim_of(row: Row) -> str:
    """A claim of the papers in words."""
    return f"{full_name(row)} has {'more' if row.claim > 0 else 'less'} AP than {ROWS[row.base].label}"


def full_name(row: Row) -> str:
    """The name of a member, or that of its base with what is different."""
    return row.label if row.question == CONVERGENCE else f"{ROWS[row.base].label} ({row.label})"


def trainings(results: Sequence[Mapping]) -> str:
    """The number of trainings, their time, commits and machines."""
    facts = {key: " and ".join(sorted({x[key] for x in results})) for key in ("commit", "machine")}
    hours = sum(x["seconds"] for x in results) / 3600
    return (
        f"{len(results)} trainings, which took {hours:.1f} hours if one adds them up (commits: {facts['commit']}; "
        f"machine: {facts['machine']})"
    )
