"""Curves of a training in one picture, from the metrics that Detectron2 writes."""

import json
import logging
import math
import os
from collections import defaultdict
from pathlib import Path

from detectron2.engine import HookBase
from detectron2.utils import comm
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from .text import drawing, plain_text

__all__ = ["CurvesHook", "draw_metrics", "plot_losses", "read_metrics"]

logger = logging.getLogger(__name__)

PARTS = {
    "loss_ce": "loss_ce (classification)",
    "loss_bbox": "loss_bbox (L1)",
    "loss_giou": "loss_giou (1 - GIoU)",
}
PRECISIONS = "bbox/AP", "bbox/AP50"
VALIDATION = "validation/total_loss"

Series = list[tuple[int, float]]


class CurvesHook(HookBase):
    """Draw `output_dir/metrics.json` to `output_dir/curves.png` after training, even if the training failed.

    The hook must come after the PeriodicWriter, which also writes the last metrics after training.

    period: iterations between drawings during training; 0 draws only at the end.
    """

    def __init__(self, *, output_dir: str | os.PathLike, period: int = 0):
        self.output_dir, self.period = Path(output_dir), period

    def after_step(self) -> None:
        if self.period > 0 and (self.trainer.iter + 1) % self.period == 0:
            self.after_train()

    def after_train(self) -> None:
        if comm.is_main_process():
            with drawing("curves.png"):
                plot_losses(self.output_dir / "metrics.json", self.output_dir / "curves.png")


def plot_losses(metrics_json: str | os.PathLike, out_png: str | os.PathLike) -> Path | None:
    """Draw losses of training and validation, the last layer's three losses, learning rate, AP and AP50 by iteration.

    A value that is not finite leaves a gap in its curve. The title counts these values.

    metrics_json: the file that Detectron2's JSONWriter writes.
    out_png: the picture to write.

    Returns the path of the picture, or None, with a warning, if there is no total loss to draw.
    """
    series = read_metrics(metrics_json)
    if "total_loss" not in series:
        logger.warning("No loss curve is drawn: %s has no total_loss.", metrics_json)
        return None
    with plain_text(series):
        draw_metrics(series).savefig(out_png, dpi=110)
    return Path(out_png)


def read_metrics(metrics_json: str | os.PathLike) -> dict[str, Series]:
    """The (iteration, value) pairs of each metric, ascending; an empty dict if there is no file.

    If a resumed training repeats iterations, the later values count. A line that a kill cut short is skipped.
    """
    path = Path(metrics_json)
    series: dict[str, Series] = defaultdict(list)
    for line in path.read_text().splitlines() if path.exists() else []:
        try:
            record = json.loads(line)
            iteration = int(record.pop("iteration"))
        except (ValueError, KeyError, TypeError, AttributeError):
            continue
        for key, value in record.items():
            if isinstance(value, int | float):
                # each metric separately: the line of an evaluation may come after one of a later iteration
                points = series[key]
                while points and points[-1][0] >= iteration:
                    points.pop()
                points.append((iteration, value))
    return dict(series)


def draw_metrics(series: dict[str, Series]) -> Figure:
    """The figure of `plot_losses` from the result of `read_metrics`; a missing metric leaves its axes empty."""
    figure = Figure(figsize=(11, 7), layout="constrained")
    total, parts, rate, precision = figure.subplots(2, 2, sharex=True).flat
    losses = {"total_loss": series.get("total_loss", []), **chosen(series, VALIDATION)}
    draw_curves(total, "total loss of all layers", losses)
    draw_curves(
        parts, "weighted losses of the last layer", {label: series.get(key, []) for key, label in PARTS.items()}
    )
    draw_curves(rate, "learning rate", {"lr": series.get("lr", [])})
    rate.ticklabel_format(axis="y", style="scientific", scilimits=(0, 0))
    draw_curves(precision, "AP on the validation set", chosen(series, *PRECISIONS), marker="o")
    precision.set_ylim(0, 100)
    for axes in (rate, precision):
        axes.set_xlabel("iteration")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def chosen(series: dict[str, Series], *names: str) -> dict[str, Series]:
    """The metrics with these names, including those of averaged weights and of validation sets, such as ema/bbox/AP."""
    return {key: values for key, values in series.items() if any(f"/{key}".endswith(f"/{name}") for name in names)}


def draw_curves(axes: Axes, title: str, curves: dict[str, Series], marker: str | None = None) -> None:
    """Draw (iteration, value) curves by label; the title counts the values that are not finite."""
    gaps = 0
    for label, points in curves.items():
        values = [value if math.isfinite(value) else math.nan for _, value in points]
        gaps += sum(map(math.isnan, values))
        sparse = sum(map(math.isfinite, values)) < 3  # a line through only a few points is hard to see
        axes.plot([i for i, _ in points], values, marker=marker or ("o" if sparse else None), markersize=4, label=label)
    if not any(curves.values()):
        axes.text(0.5, 0.5, "not in the metrics", ha="center", va="center", transform=axes.transAxes, color="gray")
    axes.set_title(title + (f"; {gaps} values are not finite" if gaps else ""))
    axes.grid(alpha=0.3)
    if len(curves) > 1:
        axes.legend()
