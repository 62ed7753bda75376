"""Boxes drawn on an image, readable on any background."""

from collections.abc import Sequence

import matplotlib
import numpy as np
from detectron2.utils.colormap import colormap
from detectron2.utils.visualizer import VisImage, Visualizer
from matplotlib.patheffects import withStroke
from matplotlib.transforms import Bbox

from .text import plain_text, readable

COLORS = colormap(rgb=True, maximum=1)  # by class


def draw_boxes(
    image: np.ndarray, boxes: np.ndarray, *, labels: Sequence[int], texts: Sequence[str], colors: np.ndarray = COLORS
) -> np.ndarray:
    """Draw boxes (N, 4), xyxy in pixels, on `image` (H, W, 3), RGB, in the colors (C, 3) of their labels.

    `colors` are RGB from 0 to 1. They repeat if there are more classes.
    """
    texts = [readable(text, label, longest=48) for text, label in zip(texts, labels, strict=True)]
    assigned = [tuple(colors[label % len(colors)]) for label in labels]
    with plain_text(texts):
        drawn = Visualizer(image).overlay_instances(boxes=boxes, labels=texts, assigned_colors=assigned)
        make_readable(drawn)
        return drawn.get_image()


def make_readable(drawn: VisImage) -> None:
    """Make boxes opaque with a dark rim, visible on any background; move labels inside the image and apart."""
    for box in drawn.ax.patches:
        rim = withStroke(linewidth=box.get_linewidth() + 2, foreground="black")
        box.set(alpha=1, path_effects=[rim])
    renderer = drawn.canvas.get_renderer()
    placed: list[Bbox] = []
    for label in drawn.ax.texts:
        label.set_family(matplotlib.rcParams["font.family"])  # Detectron2 sets one that does not fall back
        extent = label.get_window_extent(renderer)
        x, y = label.get_position()
        x -= max(0, extent.x1 + 4 - drawn.width)
        y += free_step(extent, placed, drawn.height)
        label.set_position((x, y))
        placed.append(label.get_window_extent(renderer))


def free_step(extent: Bbox, placed: Sequence[Bbox], height: float) -> float:
    """Pixels down (negative: up) to the nearest place in the picture that no placed label covers; 0 if there is none.

    extent: matplotlib's extent of the label, in pixels from the bottom.
    """
    step = extent.height + 4
    for number in range(1, 2 * int(height / step) + 2):
        down = (number // 2) * step * (1 if number % 2 else -1)
        moved = extent.translated(0, -down)
        inside = (moved.y0 >= 0 and moved.y1 <= height) or down == 0
        if inside and not any(moved.overlaps(other) for other in placed):
            return down
    return 0.0
