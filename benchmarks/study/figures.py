"""The plots of docs/study.md. The same results give the same bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np

from .rows import ROWS, Row
from .statistics import Curve, Pair, difference

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

STYLES = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1))]
MARKERS = "os^vDPX*"
Runs = Mapping[str, Mapping[Pair, Curve]]


def averaged(found: Sequence[Curve]) -> tuple[list[int], list[float], list[float]]:
    """The steps that all seeds have, with the mean entropy and the mean number of centers over the seeds."""
    steps = sorted(set.intersection(*({int(x[0]) for x in curve} for curve in found)))
    rows = [{int(x[0]): x for x in curve} for curve in found]
    return steps, *(np.mean([[row[step][i] for step in steps] for row in rows], 0).tolist() for i in (1, 2))


def draw_curves(runs: Runs, path: Path) -> None:
    """Draw AP over steps: the mean of the seeds, with a band of one standard deviation."""
    with plt.rc_context({"svg.hashsalt": "study", "font.size": 9}):
        figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
        for i, (name, curves) in enumerate(runs.items()):
            steps = sorted(set.intersection(*({x[0] for x in curve} for curve in curves.values())))
            values = np.array([[dict(map(tuple, curve))[x] for x in steps] for curve in curves.values()])
            mean, deviation = values.mean(0), values.std(0, ddof=1) if len(values) > 1 else 0
            style = {"linestyle": STYLES[i % len(STYLES)], "marker": MARKERS[i % len(MARKERS)], "markersize": 4}
            (line,) = axes.plot(steps, mean, label=f"{ROWS[name].label} (n={len(values)})", **style)
            axes.fill_between(steps, mean - deviation, mean + deviation, color=line.get_color(), alpha=0.2, linewidth=0)
        axes.set(xlabel="step", ylabel="AP", ylim=(0, None))
        axes.legend(fontsize=8)
        save(figure, path)


def draw_differences(rows: Sequence[Row], runs: Runs, path: Path) -> None:
    """Draw the differences in AP to the rows' base, with a bar of one standard deviation."""
    pairs = [(row, found) for row in rows if (found := difference(runs[row.name], runs[row.base]))]
    with plt.rc_context({"svg.hashsalt": "study", "font.size": 9}):
        figure, axes = plt.subplots(figsize=(7, 0.8 + 0.35 * len(pairs)), layout="constrained")
        for i, (_, found) in enumerate(reversed(pairs)):
            axes.errorbar(found.spread.mean, i, xerr=found.spread.deviation or 0, fmt="ko", capsize=3)
        axes.set_yticks(range(len(pairs)), [row.label for row, _ in reversed(pairs)])
        axes.axvline(0, color="black", linewidth=0.8, linestyle=":")
        axes.set(xlabel=f"difference in AP to {ROWS[rows[0].base].label}")
        save(figure, path)


def draw_attention(looks: Mapping[str, Sequence[Curve]], path: Path) -> None:
    """Draw entropy and centers of attention over steps, as the mean of the seeds."""
    with plt.rc_context({"svg.hashsalt": "study", "font.size": 9}):
        figure, panels = plt.subplots(1, 2, figsize=(7, 3), layout="constrained")
        for column, (axes, title) in enumerate(zip(panels, ("entropy, share of the largest", "centers"), strict=True)):
            for i, (name, found) in enumerate(looks.items()):
                steps, *values = averaged(found)
                style = {"linestyle": STYLES[i % len(STYLES)], "marker": MARKERS[i % len(MARKERS)], "markersize": 4}
                axes.plot(steps, values[column], label=ROWS[name].label, **style)
            axes.set(xlabel="step", title=title, ylim=(0, None))
        panels[0].legend(fontsize=7)
        save(figure, path)


def save(figure, path: Path) -> None:
    """Write a figure without the date, so that the same figure has the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)
