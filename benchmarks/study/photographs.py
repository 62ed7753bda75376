"""The section of the page on photographs."""

from collections.abc import Mapping, Sequence

from .rows import BASE, ROWS
from .statistics import difference, final, spread, verdict


def on_photographs(results: Sequence[Mapping]) -> str:
    """A table of AP, its difference to DAB-DETR's and AP50 by class, with a sentence for the best of each class."""
    found = {name: {x["seed"]: x for x in results if x["row"] == name} for name in ROWS}
    found = {name: runs for name, runs in found.items() if runs}
    names = list(dict.fromkeys(name for x in results for name in x["classes"]))
    facts = {key: ", ".join(sorted({x[key] for x in results})) for key in ("commit", "machine")}
    head = ["row", "AP", "difference", "p", "verdict", *(f"AP50 of {name}" for name in names)]
    return "\n".join(
        [
            "## Photographs",
            "",
            f"`python -m benchmarks.study --preset photographs --data FOLDER` ran {len(results)} trainings (commits: "
            f"{facts['commit']}; machine: {facts['machine']}). The backbone, EfficientNet-Lite0, has seen ImageNet and "
            "does not learn. Differences are to DAB-DETR. The commands, curves and times are in "
            "`docs/study/results_photographs.json`.",
            "",
            f"| {' | '.join(head)} |",
            f"|{'---|' * len(head)}",
            *(line(name, found, names) for name in found),
            "",
            *(best(name, found) for name in names),
        ]
    )


def line(row: str, found: Mapping[str, Mapping[int, Mapping]], classes: Sequence[str]) -> str:
    """The line of the table for one row."""
    curves = {name: {seed: x["curve"] for seed, x in runs.items()} for name, runs in found.items()}
    pair = difference(curves[row], curves[BASE]) if row != BASE and BASE in curves else None
    cells = ["-", "-", "-"]
    if pair:
        sign = "+" if pair.spread.mean >= 0 else ""
        claim = ROWS[row].claim
        cells = [f"{sign}{pair.spread}", "-" if pair.p is None else f"{pair.p:.3f}", verdict(claim, pair)]
    label = ROWS[row].label if row == BASE or ROWS[row].question == "convergence" else f"DAB-DETR {ROWS[row].label}"
    aps = spread([final(curve) for curve in curves[row].values()])
    return f"| {' | '.join([label, str(aps), *cells, *(ap50(found[row], name) for name in classes)])} |"


def ap50(runs: Mapping[int, Mapping], name: str) -> str:
    """AP50 of a class over the seeds."""
    return str(spread([x["classes"][name] for x in runs.values()]))


def best(name: str, found: Mapping[str, Mapping[int, Mapping]]) -> str:
    """A sentence: the row with the highest mean AP50 of a class."""
    row = max(found, key=lambda row: spread([x["classes"][name] for x in found[row].values()]).mean)
    return f"- {name}: the highest AP50 is {ap50(found[row], name)}, of `{row}`."
