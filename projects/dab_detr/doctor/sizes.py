"""The sizes and shapes of a dataset's objects, compared with the anchors that a model starts from."""

import numpy as np

from ..data.content import Content

SIDES = [0, 1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, np.inf]
ASPECTS = [0, 1 / 4, 1 / 2, 1, 2, 4, np.inf]


def relative_sizes(content: Content) -> np.ndarray:
    """Width and height of all boxes with a positive size, (N, 2), as fractions of their image."""
    with np.errstate(invalid="ignore", over="ignore"):
        sizes = content.boxes[:, 2:] / content.image_sizes
        return sizes[(sizes > 0).all(axis=1) & np.isfinite(sizes).all(axis=1)]


def histograms(objects: np.ndarray, anchors: np.ndarray | None) -> list[str]:
    """Lines of a table: the share of objects and anchors in each range of size and of aspect ratio.

    objects: width and height (N, 2) as fractions of the image.
    anchors: the same (Q, 2) for the anchor boxes; None for a model without them.
    """
    columns = {"objects": objects} | ({} if anchors is None else {"anchors": anchors})
    lines = [f"{'':22}" + "".join(f"{name:>10}" for name in columns)]
    for title, edges, measure in (
        ("side (root of area), as a fraction of the image", SIDES, lambda sizes: np.sqrt(sizes.prod(axis=1))),
        ("width / height, both as fractions of the image", ASPECTS, lambda sizes: sizes[:, 0] / sizes[:, 1]),
    ):
        lines.append(title)
        shares = [np.histogram(measure(sizes), edges)[0] / max(1, len(sizes)) for sizes in columns.values()]
        for low, high, *values in zip(edges, edges[1:], *shares, strict=False):
            name = f"{as_fraction(low)} to {as_fraction(high)}" if np.isfinite(high) else f"{as_fraction(low)} and more"
            lines.append(f"  {name:20}" + "".join(f"{value:>10.1%}" for value in values))
    return lines


def as_fraction(value: float) -> str:
    """A power of two as text, such as 2 or 1/4."""
    return f"{value:g}" if value >= 1 or value == 0 else f"1/{1 / value:g}"
