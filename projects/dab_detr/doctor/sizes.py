"""How large and how wide the objects of a dataset are, beside the anchors that a model starts from."""

import numpy as np

from ..data.content import Content

_SIDES = [0, 1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, np.inf]
_ASPECTS = [0, 1 / 4, 1 / 2, 1, 2, 4, np.inf]


def relative_sizes(content: Content) -> np.ndarray:
    """Width and height of all proper boxes, (N, 2), in shares of their image."""
    with np.errstate(invalid="ignore"):
        sizes = content.boxes[:, 2:] / content.image_sizes
        return sizes[(sizes > 0).all(axis=1) & np.isfinite(sizes).all(axis=1)]


def histograms(objects: np.ndarray, anchors: np.ndarray | None) -> list[str]:
    """Lines with the shares of objects (N, 2) and anchors (Q, 2), both in shares of the image, by size and aspect."""
    columns = {"objects": objects} | ({} if anchors is None else {"anchors": anchors})
    lines = [f"{'':22}" + "".join(f"{name:>10}" for name in columns)]
    for title, edges, measure in (
        ("side (root of area)", _SIDES, lambda sizes: np.sqrt(sizes.prod(axis=1))),
        ("width / height", _ASPECTS, lambda sizes: sizes[:, 0] / sizes[:, 1]),
    ):
        lines.append(f"{title}, in shares of the image")
        shares = [np.histogram(measure(sizes), edges)[0] / max(1, len(sizes)) for sizes in columns.values()]
        for low, high, *values in zip(edges, edges[1:], *shares, strict=False):
            name = f"{_fraction(low)} to {_fraction(high)}" if np.isfinite(high) else f"{_fraction(low)} and more"
            lines.append(f"  {name:20}" + "".join(f"{value:>10.1%}" for value in values))
    return lines


def _fraction(value: float) -> str:
    return f"{value:g}" if value >= 1 or value == 0 else f"1/{1 / value:g}"
