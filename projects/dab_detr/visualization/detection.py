"""Pictures of an evaluation: curves of precision over recall, and the confusion matrix."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure

SINGLE = 10  # up to this many classes, each has a color and a name
NUMBERED = 25  # up to this many classes, the cells of a matrix show their numbers
DRAWN = 80  # the most classes that a matrix shows


def draw_precision_recall(
    names: Sequence[str], recall: np.ndarray, overlaps: np.ndarray, precision: np.ndarray
) -> Figure:
    """Draw precision over recall: for each class at the lowest IoU, and averaged over the classes at several IoUs.

    recall (R,); overlaps (T,); precision (T, R, K), NaN for classes without objects.
    """
    figure = Figure(figsize=(12, 5.5), layout="constrained")
    by_class, by_overlap = figure.subplots(1, 2, sharey=True)
    draw_classes(by_class, names, recall, precision[0])
    by_class.set_title(f"by class, IoU {overlaps[0]:.2f}")
    known = ~np.isnan(precision).all(axis=(0, 1))
    for t in range(0, len(overlaps), 2):
        mean = precision[t][:, known].mean(axis=1) if known.any() else np.full(len(recall), np.nan)
        by_overlap.plot(recall, mean, label=f"IoU {overlaps[t]:.2f}: {percent(mean)}")
    by_overlap.set_title("average over the classes")
    for axes in (by_class, by_overlap):
        axes.set(xlabel="recall", xlim=(0, 1), ylim=(0, 1.02))
        axes.grid(alpha=0.3)
        axes.legend(title="AP", fontsize="small", loc="lower left")
    by_class.set_ylabel("precision")
    return figure


def draw_classes(axes: Axes, names: Sequence[str], recall: np.ndarray, precision: np.ndarray) -> None:
    """Draw a curve for each class of precision (R, K). With many classes, only the best and worst three have names."""
    ranks = [
        k for k in np.argsort(-np.nan_to_num(precision.mean(axis=0), nan=-1)) if not np.isnan(precision[:, k]).all()
    ]
    named = ranks if len(ranks) <= SINGLE else [*ranks[:3], *ranks[-3:]]
    for k in ranks:
        if k in named:
            axes.plot(recall, precision[:, k], label=f"{names[k]}: {percent(precision[:, k])}", zorder=2)
        else:
            axes.plot(recall, precision[:, k], color="lightgrey", linewidth=0.7, zorder=1)
    if len(ranks) != 1 and ranks:
        mean = precision[:, ranks].mean(axis=1)
        axes.plot(recall, mean, color="black", linewidth=2.5, label=f"all: {percent(mean)}", zorder=3)


def percent(values: np.ndarray) -> str:
    """An average precision in percent."""
    return "no objects" if np.isnan(values).all() else f"{100 * values.mean():.1f}"


def draw_confusions(names: Sequence[str], counts: np.ndarray, score_threshold: float) -> Figure:
    """Draw the matrix of `count_confusions`: counts (K + 1, K + 1), colored by their share of the row.

    If there are too many classes, only those with the most confusions are drawn.
    """
    title = f"detections of score {score_threshold:g} or more, IoU 0.5 or more"
    if len(names) > DRAWN:
        chosen = most_confused(counts)
        title += f"; the {DRAWN} of {len(names)} classes that are confused most"
        names, counts = [names[k] for k in chosen], counts[np.ix_([*chosen, -1], [*chosen, -1])]
    numbered = len(names) <= NUMBERED
    side = max(5.0, 2 + 0.65 * len(counts)) if numbered else 4 + 0.2 * len(counts)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(1, counts.sum(axis=1, keepdims=True))
    picture = axes.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 1))  # makes small shares visible
    figure.colorbar(picture, ax=axes, shrink=0.8, label="share of the row")
    size = "medium" if numbered else 7
    columns, rows = [*names, "missed"], [*names, "background"]
    axes.set_xticks(range(len(counts)), columns, rotation=45, ha="right", rotation_mode="anchor", fontsize=size)
    axes.set_yticks(range(len(counts)), rows, fontsize=size)
    axes.set(xlabel="detected as", ylabel="truth", title=title)
    axes.axhline(len(names) - 0.5, color="grey", linewidth=1)
    axes.axvline(len(names) - 0.5, color="grey", linewidth=1)
    for i, j in np.argwhere(counts) if numbered else ():
        color = "white" if shares[i, j] > 0.3 else "black"
        axes.text(j, i, str(counts[i, j]), ha="center", va="center", color=color)
    return figure


def most_confused(counts: np.ndarray) -> np.ndarray:
    """The classes with the most confusions in their row and column of counts (K + 1, K + 1), in class order."""
    wrong = counts[:-1, :-1] * (1 - np.eye(len(counts) - 1, dtype=counts.dtype))
    return np.sort(np.argsort(-(wrong.sum(axis=0) + wrong.sum(axis=1)), kind="stable")[:DRAWN])
