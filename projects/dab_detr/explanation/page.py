"""Writes an explanation as one HTML file that opens from the disk, without a server or a network."""

import base64
from pathlib import Path

import numpy as np

from ..visualization.html import filled, jpeg_address
from .explanation import Explanation

TEMPLATE = Path(__file__).with_name("page.html")
MAP_BYTES = 3_600_000  # limit for all maps on a page; base64 turns three bytes into four


def page(explanation: Explanation) -> str:
    """The page of an explanation: its picture, and for each detection everything that `Explanation` knows.

    Attention maps have 8 bits. If they would make the page too large, they are averaged over blocks of cells.
    """
    block = block_size(explanation)
    parts, count = explanation.parts(), len(explanation.detections)
    height, width = explanation.detections.image.shape[:2]
    content = {
        "name": explanation.detections.name,
        "image": jpeg_address(explanation.detections.image),
        "width": width,
        "height": height,
        "layers": explanation.num_layers,
        "heads": explanation.heads,
        "parts": parts,
        "map": list(pooled(explanation.attention(0, 0), block).shape[1:]) if parts and count else None,
        "detections": [detection(explanation, i, block) for i in range(count)],
        "truth": true_objects(explanation),
    }
    return filled(TEMPLATE, content)


def detection(explanation: Explanation, i: int, block: int) -> dict:
    """The entry of detection i in the page."""
    found, layers = explanation.detections, range(explanation.num_layers)
    modulation = explanation.modulation(i)
    return {
        "label": found.labels[i],
        "score": float(found.scores[i]),
        "box": rounded(found.boxes[i]),
        "query": int(found.instances.query[i]),
        "anchors": [rounded(corners(anchor)) for anchor in explanation.anchors(i)],
        "boxes": [rounded(box) for box in explanation.boxes(i)],
        "scores": rounded(explanation.scores(i), 4),
        "modulation": None if modulation is None else [rounded(ratios, 3) for ratios in modulation],
        "listens": [listened(explanation, i, layer) for layer in layers],
        "maps": {
            part: [[encoded(x) for x in pooled(explanation.attention(i, layer, part), block)] for layer in layers]
            for part in explanation.parts()
        },
        "points": None if explanation.parts() else [sampled(explanation, i, layer) for layer in layers],
    }


def true_objects(explanation: Explanation) -> list[dict] | None:
    """The entries of the ground truth in the page, with the query that each layer matches to an object."""
    truth = explanation.truth
    if truth is None:
        return None
    names = explanation.detections.class_names
    return [
        {"label": names[label], "box": rounded(box), "queries": queries.tolist()}
        for label, box, queries in zip(truth.labels, truth.boxes, explanation.matches.T, strict=True)
    ]


def corners(anchor: np.ndarray) -> np.ndarray:
    """Convert cxcywh to xyxy. A point stays as it is, and so does an empty anchor."""
    if len(anchor) != 4:
        return anchor
    return np.concatenate([anchor[:2] - anchor[2:] / 2, anchor[:2] + anchor[2:] / 2])


def listened(explanation: Explanation, i: int, layer: int) -> list[list]:
    """[query, weight, x, y] of the queries that a detection's query attends to; x and y of its first anchor."""
    found = []
    for query, weight in explanation.listened_to(i, layer):
        anchor = explanation.record.anchors[query].tolist()
        center = [round(a * s, 1) for a, s in zip(anchor[:2], explanation.scale[:2], strict=False)]
        found.append([query, round(weight, 4), *(center or [None, None])])
    return found


def sampled(explanation: Explanation, i: int, layer: int) -> list[list]:
    """[[x, y, weight], ...] of each head's sampling points."""
    points, weights = explanation.points(i, layer)
    return [
        [[round(float(x), 1), round(float(y), 1), round(float(w), 4)] for (x, y), w in zip(*head, strict=True)]
        for head in zip(points, weights, strict=True)
    ]


def block_size(explanation: Explanation) -> int:
    """The side of the blocks of cells over which maps are averaged, so that all maps fit into `MAP_BYTES`."""
    cells = int(np.prod(explanation.record.shapes[0]))
    maps = len(explanation.detections) * explanation.num_layers * explanation.heads * len(explanation.parts())
    return max(1, int(np.ceil(np.sqrt(cells * maps / MAP_BYTES))))


def pooled(maps: np.ndarray, block: int) -> np.ndarray:
    """(heads, H, W) maps, averaged over blocks of cells."""
    if block == 1:
        return maps
    rows, columns = (np.arange(0, side, block) for side in maps.shape[1:])
    sums = np.add.reduceat(np.add.reduceat(maps, rows, 1), columns, 2)
    ones = np.ones_like(maps[:1])
    return sums / np.add.reduceat(np.add.reduceat(ones, rows, 1), columns, 2)


def encoded(cells: np.ndarray) -> str:
    """A map (H, W) in 8 bits, its largest value 255, in base64."""
    return base64.b64encode(np.rint(255 * cells / max(cells.max(), 1e-12)).astype(np.uint8).tobytes()).decode()


def rounded(values: np.ndarray, digits: int = 1) -> list[float]:
    """Round numbers, so that they are short in JSON."""
    return [round(float(x), digits) for x in values]
