"""Detections of one image, joined with the record of the queries that found them."""

from dataclasses import dataclass

import numpy as np
from torch import Tensor

from ..inference.detections import Detections
from ..inference.images import Picture, sources_of
from ..inference.predictor import Predictor
from ..modeling.boxes import full_precision
from ..modeling.recording import Record, recording
from ..modeling.structures import Look
from .layers import match, predict_all
from .truth import Annotations, Truth

PARTS = ("attention", "content", "position", "unmodulated")


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A record of the queries behind the detections of one image. Coordinates are pixels of the image.

    detections: the explained detections, the highest score first.
    record: the record of the detector's layers, see `modeling.recording.Record`.
    rows: (N,) the row in `record` of each detection's query. One query may find several objects.
    truth: the annotated objects of the picture; None without annotations.
    matches: (layers, M) the query that training's matcher assigns to each of these objects, -1 for none.
    """

    detections: Detections
    record: Record
    rows: np.ndarray
    truth: Truth | None = None
    matches: np.ndarray | None = None

    @property
    def num_layers(self) -> int:
        """Number of decoder layers."""
        return len(self.record.layers)

    @property
    def heads(self) -> int:
        """Number of heads of the last cross-attention."""
        return len(self.record.layers[-1].cross_attention.weights)

    def anchors(self, detection: int) -> np.ndarray:
        """(layers, D) anchors that the layers start from: cxcywh for D = 4, a point for D = 2, none for D = 0."""
        anchors = [array(layer.anchors[self.rows[detection]]) for layer in self.record.layers]
        columns = max(len(x) for x in anchors)  # the points of Deformable DETR become boxes after the first layer
        return np.stack([np.pad(x, (0, columns - len(x))) * self.scale[:columns] for x in anchors])

    def boxes(self, detection: int) -> np.ndarray:
        """(layers, 4) boxes that the layers predict, xyxy."""
        boxes = np.stack([array(layer.boxes[self.rows[detection]]) for layer in self.record.layers])
        centers, sides = boxes[:, :2], boxes[:, 2:]
        return np.concatenate([centers - sides / 2, centers + sides / 2], 1) * self.scale

    def scores(self, detection: int) -> np.ndarray:
        """(layers,) score of the detection's class after each layer."""
        label = int(self.detections.instances.pred_classes[detection])
        logits = np.stack([array(layer.logits[self.rows[detection]]) for layer in self.record.layers])
        if logits.shape[1] > len(self.detections.class_names):  # the last class is "no object"
            logits = np.exp(logits - logits.max(1, keepdims=True))
            return logits[:, label] / logits.sum(1)
        return 1 / (1 + np.exp(-logits[:, label]))

    def parts(self) -> list[str]:
        """The members of `PARTS` for which this detector has maps."""
        layer = self.record.layers[-1]
        has = {
            "attention": layer.cross_attention.points is None,
            "content": layer.cross_attention.content is not None,
            "position": layer.cross_attention.position is not None,
            "unmodulated": layer.unmodulated is not None,
        }
        return [part for part in PARTS if has[part]]

    def attention(self, detection: int, layer: int, part: str = "attention") -> np.ndarray:
        """(heads, H, W) attention of a detection's query over the cells of the image. Each head sums to 1.

        part: one of `PARTS`: the full attention; the softmax of the content product or the position product alone; or
            the attention without width and height modulation.

        Raises ValueError for a part that the detector does not have, such as maps of deformable attention.
        """
        if part not in self.parts():
            raise ValueError(f"this detector has no map of the {part}; it has {', '.join(self.parts()) or 'none'}")
        record = self.record.layers[layer]
        look = record.unmodulated if part == "unmodulated" else record.cross_attention
        weights = array(look.weights[:, self.rows[detection]])
        if part in ("content", "position"):
            products = array(getattr(look, part)[:, self.rows[detection]])
            products = np.where(weights > 0, products, -np.inf)
            weights = np.exp(products - products.max(-1, keepdims=True))
            weights /= weights.sum(-1, keepdims=True)
        maps = weights.reshape(-1, *self.record.shapes[0])
        width, height = np.rint(array(self.record.valid_ratios[0]) * np.array(maps.shape[:0:-1])).astype(int)
        return maps[:, :height, :width]

    def points(self, detection: int, layer: int) -> tuple[np.ndarray, np.ndarray]:
        """Sampled points (heads, levels * P, 2) and their weights (heads, levels * P) of deformable attention.

        Raises ValueError for detectors that attend to all cells.
        """
        look: Look = self.record.layers[layer].cross_attention
        if look.points is None:
            raise ValueError("this detector attends to all cells of a map: use attention()")
        row = self.rows[detection]
        return array(look.points[:, row]) * self.scale[:2], array(look.weights[:, row])

    def listened_to(self, detection: int, layer: int, count: int = 5) -> list[tuple[int, float]]:
        """The queries that a detection's query attends to most in self-attention, with the mean weight of the heads."""
        weights = array(self.record.layers[layer].self_attention.weights[:, self.rows[detection]]).mean(0)
        return [(int(i), float(weights[i])) for i in np.argsort(-weights)[:count]]

    def modulation(self, detection: int) -> np.ndarray | None:
        """(layers, 2) ratios w_ref / w and h_ref / h (Eq. 6 of the paper); None without modulation."""
        if self.record.layers[0].modulation is None:
            return None
        return np.stack([array(layer.modulation[self.rows[detection]]) for layer in self.record.layers])

    @property
    def scale(self) -> np.ndarray:
        """(4,) width, height, width, height of the image in pixels."""
        height, width = self.detections.image.shape[:2]
        return np.array([width, height, width, height], dtype=np.float64)


def explain(
    predictor: Predictor,
    image: Picture,
    *,
    threshold: float = 0.3,
    max_objects: int = 20,
    annotations: Annotations | None = None,
) -> Explanation:
    """Detect the objects in one image and record the queries that found them.

    The detector runs twice: once to detect, once to record the queries of the detections alone.

    image: as `Predictor.__call__` takes it. threshold: lowest score of a detection.
    max_objects: the largest number of detections to explain. Those with the highest scores are explained.
    annotations: add the picture's objects and their matches in every layer.

    Raises ValueError for anything but one image.
    """
    sources = sources_of(image)
    if len(sources) != 1:
        raise ValueError(f"explain() takes one image, got {len(sources)}")
    prepared = predictor.prepare(sources[0])
    found = predictor.detections(prepared, predictor.run([prepared])[0], threshold)
    found = Detections(
        name=found.name, image=found.image, instances=found.instances[:max_objects], class_names=found.class_names
    )
    queries, rows = np.unique(found.instances.query.numpy(), return_inverse=True)
    with recording(predictor.model, queries) as recorder:
        prediction, _ = predict_all(predictor, prepared)
    known = {}
    if annotations is not None:
        truth = annotations.of(prepared.name)
        known = {"truth": truth, "matches": match(predictor, prediction, truth, prepared.image.shape[:2])}
    return Explanation(detections=found, record=recorder.record, rows=rows, **known)


def array(x: Tensor) -> np.ndarray:
    """A tensor as an array of float64."""
    return full_precision(x).detach().cpu().double().numpy()
