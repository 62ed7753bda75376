"""Boxes drawn on an image, readable on any background."""

from collections.abc import Sequence

import numpy as np
from detectron2.utils.colormap import colormap
from detectron2.utils.visualizer import VisImage, Visualizer
from matplotlib.patheffects import withStroke

COLORS = colormap(rgb=True, maximum=1)  # by class


def draw_boxes(
    image: np.ndarray, boxes: np.ndarray, *, labels: Sequence[int], texts: Sequence[str], colors: np.ndarray = COLORS
) -> np.ndarray:
    """`image` (H, W, 3), RGB, with boxes (N, 4), xyxy in its pixels, in the colors (C, 3) of their labels.

    `colors` are RGB from 0 to 1. They repeat if there are more classes.
    """
    canvas = Visualizer(image)
    assigned = [tuple(colors[label % len(colors)]) for label in labels]
    drawn = canvas.overlay_instances(boxes=boxes, labels=texts, assigned_colors=assigned)
    make_readable(drawn)
    return drawn.get_image()


def make_readable(drawn: VisImage) -> None:
    """Make boxes opaque with a dark rim, visible on any background, and move labels inside the image."""
    for box in drawn.ax.patches:
        rim = withStroke(linewidth=box.get_linewidth() + 2, foreground="black")
        box.set(alpha=1, path_effects=[rim])
    renderer = drawn.canvas.get_renderer()
    for label in drawn.ax.texts:
        beyond = label.get_window_extent(renderer).x1 + 4 - drawn.width
        x, y = label.get_position()
        label.set_position((x - max(0, beyond), y))
