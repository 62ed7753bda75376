"""The section of the page on how fast members converge."""

from collections.abc import Mapping, Sequence

from .comparison import COLUMNS, compared, line, rule
from .figures import Runs
from .row import BASE, SWEEP
from .rows import ROWS
from .statistics import Curve, Pair, final, paired, spread, steps_until

SHARES = (0.5, 0.9)
TEN_TIMES = (
    "DAB-DETR's paper trains DETR for 500 epochs and DAB-DETR for 50 to about the same AP (Table 2): ten times as long."
)
DROP = (
    "The learning rate of a training drops at four fifths of its steps, and AP rises quickly then. Steps until an AP "
    "therefore depend on the length of a training too. They are interpolated between evaluations."
)


def convergence(runs: Runs, picture: str) -> str:
    """The table of final AP and of the steps to 50 and 90 % of DAB-DETR's, with sentences for each member."""
    head = ["member", *COLUMNS, "steps to 50 % of DAB-DETR's AP", "steps to 90 %"]
    lines, sentences = [], []
    for name in members(runs):
        top = spread([final(curve) for curve in paired(runs[name], runs[BASE]).values()]).mean
        steps = [reached(runs[name], top * share) for share in SHARES]
        lines.append(line(ROWS[name].full_name, *compared(ROWS[name], runs), *steps))
        if name != BASE:
            sentences += [f"- {x}" for share in SHARES if (x := ratio_sentence(name, runs, top * share))]
    plot = f"![AP over the steps of training]({picture})"
    parts = ["## Convergence", f"{TEN_TIMES} {DROP}", "\n".join([line(*head), rule(head), *lines])]
    return "\n\n".join([*parts, *(["\n".join(sentences)] if sentences else []), *sweep(runs), plot])


def members(runs: Runs) -> list[str]:
    """The rows that are members of the family, in their order."""
    return [name for name in runs if ROWS[name].member]


def reached(curves: Mapping[Pair, Curve], level: float) -> str:
    """The steps until a level as text, or the number of runs that did not reach it."""
    steps = [steps_until(curve, level) for curve in curves.values()]
    found = [x for x in steps if x is not None]
    if not found:
        return f"not within {max(curve[-1][0] for curve in curves.values()):.0f}"
    missed = f", {len(steps) - len(found)} did not" if len(found) < len(steps) else ""
    value = spread(found)
    deviation = "" if value.deviation is None else f" ± {value.deviation:.0f}"
    return f"{value.mean:.0f}{deviation} (n={value.n}{missed})"


def ratio_sentence(name: str, runs: Runs, level: float) -> str:
    """A sentence: the steps that a member needs to reach an AP, as a multiple of DAB-DETR's, pair by pair.

    "" if DAB-DETR itself did not reach the AP in every run.
    """
    row, base = runs[name], paired(runs[name], runs[BASE])
    theirs = {pair: steps_until(base[pair], level) for pair in base}
    ours = {pair: steps_until(row[pair], level) for pair in row}
    label = ROWS[name].full_name
    if None in theirs.values():
        return ""
    alone = spread(list(theirs.values())).mean  # for a run without a partner
    if missed := list(ours.values()).count(None):
        least = min(row[pair][-1][0] / theirs.get(pair, alone) for pair in row)
        return (
            f"{label} did not reach {level:.1f} AP in {missed} of {len(ours)} runs, which had {least:.1f} times "
            "DAB-DETR's steps or more."
        )
    return f"{label} needs {times([ours[pair] / theirs.get(pair, alone) for pair in ours], level)}."


def times(ratios: Sequence[float], level: float) -> str:
    """Ratios of steps in words."""
    value = spread(ratios)
    deviation = "" if value.deviation is None else f" ± {value.deviation:.2f}"
    return f"{value.mean:.2f}{deviation} times DAB-DETR's steps to reach {level:.1f} AP (n={value.n})"


def sweep(runs: Runs) -> list[str]:
    """A sentence about DETR's learning rates, if they were tried."""
    found = {name: runs[name] for name in runs if ROWS[name].question == SWEEP}
    if not found or "detr" not in runs:
        return []
    aps = {ROWS[name].label: spread([final(x) for x in curves.values()]) for name, curves in found.items()}
    aps["learning rate 6e-4, that of all other rows"] = spread([final(x) for x in runs["detr"].values()])
    best = max(aps, key=lambda name: aps[name].mean)
    return [f"DETR with other learning rates: {'; '.join(f'{k}: AP {v}' for k, v in aps.items())}. The best is {best}."]
