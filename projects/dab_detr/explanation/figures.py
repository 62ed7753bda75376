"""The papers' figures: effects of temperature and modulation on positional attention, and a checkpoint's attention."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
import torch
from detectron2.structures import pairwise_iou
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from ..modeling.positional import sine_embedding
from .explanation import Explanation
from .layers import LayerStudy

CELLS, CHANNELS = 41, 128  # the side of the drawn maps; the channels of one axis in a model of 256
TEMPERATURES = (2.0, 20.0, 10000.0)
RATIOS = ((1, 1), (1, 3), (3, 1))  # width and height of the drawn anchors
SIDE = 0.15  # the smaller side of an anchor, normalized
MAP = matplotlib.colormaps["cividis"]


def positional_kernel(width_ratio: float, height_ratio: float, temperature: float) -> np.ndarray:
    """(CELLS, CELLS) similarity of an anchor at the center with every point of the image, between 0 and 1.

    It is the softmax of Eq. 6 of the paper without learned projections: PE(x) . PE(x_ref) w_ref / w + PE(y) . PE(y_ref)
    h_ref / h.
    """
    line = torch.linspace(0, 1, CELLS, dtype=torch.float64)
    points = torch.stack([line, line], -1)
    cells = sine_embedding(points, CHANNELS, temperature).unflatten(-1, (2, CHANNELS))
    center = sine_embedding(torch.full((1, 2), 0.5, dtype=torch.float64), CHANNELS, temperature)
    along_y, along_x = (cells * center.unflatten(-1, (2, CHANNELS))).sum(-1).unbind(-1)
    scores = along_y[:, None] * height_ratio + along_x[None] * width_ratio
    scores = scores * (2 * CHANNELS) ** -0.5
    return (scores - scores.max()).exp().numpy()


def temperatures() -> Figure:
    """Kernels at three temperatures: the lower the temperature, the smaller the area that a query looks at."""
    maps = [positional_kernel(1.0, 1.0, t) for t in TEMPERATURES]
    return in_a_row(maps, [f"temperature {t:g}" for t in TEMPERATURES])


def modulations(temperature: float = 20.0) -> Figure:
    """Kernels of a square, a tall and a wide anchor, modulated as Eq. 6 does for a reference of equal sides."""
    figure = in_a_row(
        [positional_kernel(1 / w, 1 / h, temperature) for w, h in RATIOS],
        [f"width : height = {w} : {h}" for w, h in RATIOS],
    )
    for axes, (w, h) in zip(figure.axes, RATIOS, strict=True):
        width, height = CELLS * SIDE * w, CELLS * SIDE * h
        corner = (CELLS - 1 - width) / 2, (CELLS - 1 - height) / 2
        axes.add_patch(
            matplotlib.patches.Rectangle(corner, width, height, fill=False, edgecolor="white", linestyle="--")
        )
    return figure


def attention_by_layer(explanation: Explanation, detection: int, part: str = "position") -> Figure:
    """The mean attention of the heads over the picture in each layer, with the anchor and the predicted box.

    part: see `Explanation.attention`. Raises ValueError for a part that the detector does not have.
    """
    layers = range(explanation.num_layers)
    maps = [explanation.attention(detection, layer, part).mean(0) for layer in layers]
    figure = in_a_row(maps, [f"layer {i + 1}, score {x:.2f}" for i, x in enumerate(explanation.scores(detection))])
    height, width = maps[0].shape
    scale = np.array([width, height, width, height]) / explanation.scale
    for axes, anchor, box in zip(
        figure.axes, explanation.anchors(detection), explanation.boxes(detection), strict=True
    ):
        if len(anchor) == 4:
            anchor = np.concatenate([anchor[:2] - anchor[2:] / 2, anchor[:2] + anchor[2:] / 2])
            outline(axes, anchor * scale - 0.5, "white", "--")
        outline(axes, box * scale - 0.5, "tab:orange", "-")
    return figure


def points_by_layer(explanation: Explanation, detection: int) -> Figure:
    """The points that deformable attention samples in each layer, on the picture with the predicted box.

    The area of a point is its weight. Raises ValueError for detectors that attend to all cells.
    """
    picture = explanation.detections.image
    layers = range(explanation.num_layers)
    titles = [f"layer {i + 1}, score {x:.2f}" for i, x in enumerate(explanation.scores(detection))]
    figure = in_a_row([picture] * len(layers), titles)
    for layer, axes, box in zip(layers, figure.axes, explanation.boxes(detection), strict=True):
        points, weights = explanation.points(detection, layer)
        x, y = points.reshape(-1, 2).T
        axes.scatter(x, y, s=100 * weights.ravel(), c="white", edgecolors="black", linewidths=0.5)
        outline(axes, box - 0.5, "tab:orange", "-")
    return figure


def side_by_side(explanations: Mapping[str, Explanation], heads: int = 3) -> Figure:
    """The attention of several detectors to the same object of one picture, in their last layers.

    Each column is one detector under its name: the mean of all heads on top, single heads below. It shows the attention
    by position, or the full attention if the detector has no separate map for positions. The object is the first
    detector's best detection. The others show the detection that overlaps most with it.

    Raises ValueError for a detector without detections and for deformable attention, which has no maps.
    """
    for name, explanation in explanations.items():
        if not len(explanation.detections) or not explanation.parts():
            raise ValueError(f"{name} has no {'maps' if len(explanation.detections) else 'detections'} to draw")
    first = next(iter(explanations.values())).detections.instances.pred_boxes[:1]
    rows = [[] for _ in range(1 + heads)]
    for explanation in explanations.values():
        overlaps = pairwise_iou(first, explanation.detections.instances.pred_boxes)[0]
        part = "position" if "position" in explanation.parts() else "attention"
        maps = explanation.attention(int(overlaps.argmax()), explanation.num_layers - 1, part)
        for row, cells in zip(rows, [maps.mean(0), *maps], strict=False):
            row.append(cells)
    figure = Figure(figsize=(2.4 * len(explanations), 2.2 * len(rows) + 0.3), layout="constrained")
    grid = figure.subplots(len(rows), len(explanations), squeeze=False)
    for number, (axes_of_row, maps) in enumerate(zip(grid, rows, strict=True)):
        for axes, cells in zip(axes_of_row, maps, strict=True):
            axes.imshow(cells, cmap=MAP)
            axes.set(xticks=[], yticks=[])
        axes_of_row[0].set_ylabel(f"head {number}" if number else "mean of the heads", fontsize=10)
    for axes, name in zip(grid[0], explanations, strict=True):
        axes.set_title(name, fontsize=10, parse_math=False)
    return figure


def layers_of_a_dataset(study: LayerStudy) -> Figure:
    """AP by layer, and the objects that change their query from layer to layer."""
    figure = Figure(figsize=(6.4, 2.9), layout="constrained")
    left, right = figure.subplots(1, 2)
    layers = range(1, len(study.ap) + 1)
    left.plot(layers, study.ap, "o-", color="black")
    left.set(xlabel="decoder layer", ylabel="AP", ylim=(0, None), xticks=list(layers))
    right.bar([f"{i} to {i + 1}" for i in layers[:-1]], study.changed, color="gray")
    right.set(xlabel="decoder layers", ylabel="objects with another query (%)")
    return figure


def anchors_in_use(study: LayerStudy) -> Figure:
    """The anchors that the queries start from.

    A circle's area is the number of objects that the query found, and its color is their mean size. A cross is a query
    that found nothing.

    Raises ValueError for queries without anchors.
    """
    if not study.anchors.shape[1]:
        raise ValueError("these queries have no anchors to draw")
    figure = Figure(figsize=(4.8, 4.2), layout="constrained")
    axes, (x, y), used = figure.subplots(), study.anchors[:, :2].T, study.wins > 0
    axes.scatter(x[~used], y[~used], marker="x", s=12, color="gray", linewidths=0.6)
    circles = axes.scatter(
        x[used],
        y[used],
        s=400 * study.wins[used] / max(study.wins.max(), 1),
        c=study.sides[used],
        cmap=MAP,
        vmin=0,
        edgecolors="black",
        linewidths=0.5,
        alpha=0.85,
    )
    figure.colorbar(circles, label="mean size of its objects (fraction of the picture's side)")
    axes.set(xlim=(0, 1), ylim=(1, 0), xlabel="x", ylabel="y", aspect="equal")
    axes.set_title(f"{used.sum()} of {len(used)} queries found {study.wins.sum()} objects", fontsize=10)
    return figure


def outline(axes: Axes, box: np.ndarray, color: str, style: str) -> None:
    """Draw a box (4,) xyxy in cells."""
    x0, y0, x1, y1 = box
    axes.add_patch(Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, edgecolor=color, linestyle=style))


def in_a_row(maps: Sequence[np.ndarray], titles: Sequence[str]) -> Figure:
    """Draw maps side by side, each scaled from its own lowest to its highest value."""
    figure = Figure(figsize=(2.6 * len(maps), 2.9), layout="constrained")
    for axes, cells, title in zip(figure.subplots(1, len(maps), squeeze=False)[0], maps, titles, strict=True):
        axes.imshow(cells, cmap=MAP)
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
        axes.autoscale(False)
    return figure


def save_figures(
    folder: Path,
    explanation: Explanation | None = None,
    *,
    source: str = "",
    beside: Mapping[str, Explanation] | None = None,
) -> list[Path]:
    """Save all figures as PNG and SVG. Figures of an explanation are included if it is given. Returns their paths.

    source: the checkpoint that the explanation comes from; the figures name it.
    beside: explanations of the same picture by other checkpoints, which are drawn side by side with it.
    """
    figures = {"temperatures": temperatures(), "modulations": modulations()}
    if explanation is not None and len(explanation.detections):
        drawn = {part: attention_by_layer(explanation, 0, part) for part in explanation.parts()}
        drawn = drawn or {"points": points_by_layer(explanation, 0)}
        for part, figure in drawn.items():
            title = f"{part}, {explanation.detections.labels[0]}\n{source}"
            figure.suptitle(title, fontsize=9, parse_math=False)
        figures |= drawn
        if beside:
            figures["side_by_side"] = side_by_side({source: explanation} | dict(beside))
    return save(figures, folder)


def save_study(folder: Path, study: LayerStudy, *, source: str) -> list[Path]:
    """Save the figures of a study of layers as PNG and SVG. Returns their paths. source: the checkpoint."""
    figures = {"layers": layers_of_a_dataset(study)}
    if study.anchors.shape[1]:
        figures["anchors"] = anchors_in_use(study)
    for figure in figures.values():
        figure.suptitle(source, fontsize=9, parse_math=False)
    return save(figures, folder)


def save(figures: Mapping[str, Figure], folder: Path) -> list[Path]:
    """Save figures under their names as PNG and SVG. Returns their paths."""
    paths = [folder / f"{name}.{suffix}" for name in figures for suffix in ("png", "svg")]
    for path in paths:
        figures[path.stem].savefig(path, dpi=120)
    return paths
