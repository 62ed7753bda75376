"""The decoder layers on pictures with ground truth: matches, AP, and the queries that find objects."""

import contextlib
import io
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch
from pycocotools.coco import COCO
from torchvision.ops import box_convert

from ..detector import select
from ..evaluation.box_eval import BoxEval
from ..inference.images import Source
from ..inference.pipeline import Prepared
from ..inference.predictor import Predictor
from ..modeling.boxes import full_precision
from ..modeling.structures import Prediction, Target
from .truth import Annotations, Truth

NO_QUERY = -1


@dataclass(frozen=True, kw_only=True)
class LayerStudy:
    """The decoder layers of a detector on pictures with N objects in total.

    ap: (layers,) COCO's AP of each layer's predictions, in percent.
    matches: (layers, N) the query that training's matcher assigns to each object in each layer, -1 for none.
    anchors: (Q, D) the anchors that the queries start from; in two-stage detectors those of the last picture.
    wins: (Q,) the number of objects that the last layer matches to each query.
    sides: (Q,) the mean of sqrt(width * height) of these objects as a fraction of the picture, NaN for none.
    """

    ap: np.ndarray
    matches: np.ndarray
    anchors: np.ndarray
    wins: np.ndarray
    sides: np.ndarray

    @property
    def changed(self) -> np.ndarray:
        """(layers - 1,) percentage of objects that a layer matches to a different query than the layer before."""
        return 100 * (self.matches[1:] != self.matches[:-1]).mean(1)


def study_layers(predictor: Predictor, sources: Iterable[Source], annotations: Annotations) -> LayerStudy:
    """Run a detector on pictures with annotations. Raises ValueError if none of them has an object."""
    matches, detections, pictures, boxes = [], [], [], []
    for source in sources:
        truth = annotations.of(source.name)
        prepared = predictor.prepare(source)
        prediction, anchors = predict_all(predictor, prepared)
        height, width = prepared.image.shape[:2]
        matches.append(match(predictor, prediction, truth, (height, width)))
        detections.append(detections_of(predictor, prediction, (height, width), len(pictures) + 1))
        pictures.append(truth)
        boxes.append((truth.boxes[:, 2:] - truth.boxes[:, :2]) / [width, height])
    if not sum(len(x.labels) for x in pictures):
        raise ValueError(f"none of these pictures has an object in {annotations.file}")
    matched = np.concatenate(matches, 1)
    sides = np.sqrt(np.concatenate(boxes).prod(1))
    wins = np.bincount(matched[-1][matched[-1] >= 0], minlength=len(anchors))
    sums = np.bincount(matched[-1][matched[-1] >= 0], weights=sides[matched[-1] >= 0], minlength=len(anchors))
    layers = range(len(matched))
    return LayerStudy(
        ap=np.array([average_precision(pictures, [x[layer] for x in detections]) for layer in layers]),
        matches=matched,
        anchors=anchors,
        wins=wins,
        sides=np.divide(sums, wins, out=np.full(len(wins), np.nan), where=wins > 0),
    )


def predict_all(predictor: Predictor, prepared: Prepared) -> tuple[Prediction, np.ndarray]:
    """The predictions of all layers for one picture, and the anchors (Q, D) that its queries start from."""
    seen = []
    decoder = predictor.model.decoder
    handle = decoder.register_forward_hook(lambda _, inputs, prediction: seen.append((prediction, inputs[0].anchors)))
    try:
        predictor.run([prepared])
    finally:
        handle.remove()
    ((prediction, anchors),) = seen
    return prediction, full_precision(anchors[0]).cpu().numpy()


def match(predictor: Predictor, prediction: Prediction, truth: Truth, size: tuple[int, int]) -> np.ndarray:
    """(layers, N) the query of each object in each layer, by training's matcher. size: height, width."""
    device = prediction.logits.device
    scale = torch.tensor([size[1], size[0], size[1], size[0]], dtype=torch.float)
    boxes = box_convert(torch.as_tensor(truth.boxes, dtype=torch.float) / scale, "xyxy", "cxcywh")
    target = Target(torch.as_tensor(truth.labels).to(device), boxes.to(device))
    found = predictor.model.criterion.matcher(prediction, [target])
    layer, _, query = (x.cpu().numpy() for x in found.query)
    result = np.full((len(prediction.logits), len(truth.labels)), NO_QUERY)
    result[layer, found.object.cpu().numpy()] = query
    return result


def detections_of(predictor: Predictor, prediction: Prediction, size: tuple[int, int], image: int) -> list[list[dict]]:
    """The detections of each layer in COCO's result format, for the picture with the number `image`."""
    sizes = torch.tensor([size], device=prediction.boxes.device)
    layers = []
    for i in range(len(prediction.logits)):
        one = Prediction(logits=prediction.logits[i : i + 1], boxes=prediction.boxes[i : i + 1])
        boxes, scores, labels, _ = select(predictor.model.selection, one, sizes)
        rows = torch.cat([box_convert(boxes[0], "xyxy", "xywh"), scores[0, :, None]], 1).tolist()
        layers.append(
            [
                {"image_id": image, "category_id": label + 1, "bbox": row[:4], "score": row[4]}
                for row, label in zip(rows, labels[0].tolist(), strict=True)
            ]
        )
    return layers


def average_precision(pictures: list[Truth], detections: list[list[dict]]) -> float:
    """COCO's AP in percent."""
    truth = COCO()
    rows = [
        (i, *row) for i, x in enumerate(pictures, 1) for row in zip(x.labels.tolist(), x.boxes.tolist(), strict=True)
    ]
    truth.dataset = {
        "images": [{"id": i} for i in range(1, len(pictures) + 1)],
        "categories": [{"id": label + 1} for label in sorted({row[1] for row in rows})],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": label + 1,
                "bbox": [x0, y0, x1 - x0, y1 - y0],
                "area": (x1 - x0) * (y1 - y0),
                "iscrowd": 0,
            }
            for number, (image, label, (x0, y0, x1, y1)) in enumerate(rows, 1)
        ],
    }
    with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
        truth.createIndex()
        found = truth.loadRes([x for picture in detections for x in picture])
        evaluation = BoxEval(truth, found, max_detections=100, area_sides=(32, 96)).run()
    return 100 * float(evaluation.stats[0])
