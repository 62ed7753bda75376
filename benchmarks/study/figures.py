"""The plots of docs/study.md. The same results give the same bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np

from .row import BASE, Row
from .rows import ROWS
from .statistics import Curve, Difference, Pair, Spread, difference, spread

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402
from matplotlib.axes import Axes  # noqa: E402

STYLES = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1))]
MARKERS = "os^vDPX*"
Runs = Mapping[str, Mapping[Pair, Curve]]


def averaged(found: Sequence[Curve]) -> tuple[list[int], list[Spread], list[Spread]]:
    """The steps that all seeds have, with the entropy and the number of centers there over the seeds."""
    steps = sorted(set.intersection(*({int(x[0]) for x in curve} for curve in found)))
    rows = [{int(x[0]): x for x in curve} for curve in found]
    return steps, *([spread([row[step][i] for row in rows]) for step in steps] for i in (1, 2))


def style(i: int) -> dict:
    """The look of the i-th line, which differs from the others without colors."""
    return {"linestyle": STYLES[i % len(STYLES)], "marker": MARKERS[i % len(MARKERS)], "markersize": 4}


def draw_band(axes: Axes, steps: Sequence[float], found: Sequence[Spread], i: int, label: str) -> None:
    """Draw means with a band of one standard deviation, whose edges are thin lines of the same style."""
    mean = np.array([x.mean for x in found])
    (line,) = axes.plot(steps, mean, label=label, **style(i))
    if found[0].deviation is not None:
        deviation = np.array([x.deviation for x in found])
        look = {"color": line.get_color(), "linestyle": STYLES[i % len(STYLES)]}
        axes.fill_between(steps, mean - deviation, mean + deviation, alpha=0.15, linewidth=0.5, **look)


def draw_curves(runs: Runs, path: Path) -> None:
    """Draw AP over steps: members on one map on the left, and on several maps on the right, beside DAB-DETR."""
    panels = [
        [name for name in runs if name == BASE or ROWS[name].several_maps == several] for several in (False, True)
    ]
    with plt.rc_context({"svg.hashsalt": "study", "font.size": 9}):
        figure, both = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
        for axes, names, title in zip(both, panels, ("one map", "several maps, beside DAB-DETR"), strict=True):
            for i, name in enumerate(names):
                curves = [dict(map(tuple, curve)) for curve in runs[name].values()]
                steps = sorted(set.intersection(*map(set, curves)))
                found = [spread([curve[step] for curve in curves]) for step in steps]
                draw_band(axes, steps, found, i, f"{ROWS[name].full_name} (n={len(curves)})")
            axes.set(xlabel="step", title=title, xscale="log")
            ticks = sorted({step for name in names for curve in runs[name].values() for step, _ in curve})
            axes.set_xticks(ticks, [f"{x:.0f}" if x in (ticks[0], ticks[-1]) or x % 500 == 0 else "" for x in ticks])
            axes.minorticks_off()
            axes.legend(fontsize=7)
        both[0].set_ylabel("AP")
        both[0].set_ylim(bottom=0)
        save(figure, path)


def draw_differences(rows: Sequence[Row], runs: Runs, path: Path) -> None:
    """Draw the differences in AP to the rows' bases, with their 95 % intervals. Single runs are hollow."""
    pairs = [(row, x) for row in rows if row.name != row.base and (x := difference(runs[row.name], runs[row.base]))]
    with plt.rc_context({"svg.hashsalt": "study", "font.size": 9}):
        figure, axes = plt.subplots(figsize=(9, 0.8 + 0.35 * len(pairs)), layout="constrained")
        for i, (_, found) in enumerate(reversed(pairs)):
            low, high = found.interval or (found.spread.mean, found.spread.mean)
            axes.plot([low, high], [i, i], "k-|", linewidth=1)
            axes.plot(found.spread.mean, i, "ko", fillstyle="full" if found.interval else "none")
        axes.set_yticks(range(len(pairs)), [tick(row, x) for row, x in reversed(pairs)])
        axes.axvline(0, color="black", linewidth=0.8, linestyle=":")
        axes.set(xlabel="difference in AP")
        save(figure, path)


def tick(row: Row, found: Difference) -> str:
    """The name of a row, of its base if that is not DAB-DETR, and the number of pairs."""
    against = "" if row.base == BASE else f"\nagainst {ROWS[row.base].full_name}"
    return f"{row.label}{against} (n={found.spread.n})"


def draw_attention(looks: Mapping[str, Sequence[Curve]], path: Path) -> None:
    """Draw entropy and centers of attention over steps."""
    with plt.rc_context({"svg.hashsalt": "study", "font.size": 9}):
        figure, panels = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
        for column, (axes, title) in enumerate(zip(panels, ("entropy, share of the largest", "centers"), strict=True)):
            for i, (name, found) in enumerate(looks.items()):
                steps, *values = averaged(found)
                draw_band(axes, steps, values[column], i, f"{ROWS[name].full_name} (n={len(found)})")
            axes.set(xlabel="step", title=title, ylim=(0, None))
        panels[0].legend(fontsize=7)
        save(figure, path)


def save(figure, path: Path) -> None:
    """Write a figure without the date, so that the same figure has the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
