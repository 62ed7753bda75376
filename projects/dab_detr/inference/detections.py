"""The objects that a model finds in one image."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from detectron2.structures import Instances
from PIL import Image

SMALLEST_PICTURE = 480  # pixels of the longer side


@dataclass(frozen=True, kw_only=True)
class Detections:
    """The objects found in one image, the surest first.

    name: the path or URL of the image as it was given, otherwise its number.
    image: (H, W, 3) uint8, RGB.
    instances: Detectron2's Instances on the CPU: `pred_boxes` (N, 4), xyxy in the image's pixels, `scores`,
        `pred_classes`, `query` (the index of the query that answered).
    class_names: names of the model's classes.
    highest: the highest score in the image, even below the threshold; 0 if it is not known.
    """

    name: str
    image: np.ndarray
    instances: Instances
    class_names: Sequence[str]
    highest: float = 0.0

    def __len__(self) -> int:
        return len(self.instances)

    @property
    def boxes(self) -> np.ndarray:
        """(N, 4), xyxy in pixels."""
        return self.instances.pred_boxes.tensor.numpy()

    @property
    def scores(self) -> np.ndarray:
        """(N,), 0 to 1."""
        return self.instances.scores.numpy()

    @property
    def labels(self) -> list[str]:
        """Names of the classes."""
        return [self.class_names[i] for i in self.instances.pred_classes.tolist()]

    def objects(self) -> list[dict]:
        """Each object as {"label": name, "score": 0 to 1, "box": [left, top, right, bottom] in pixels}."""
        found = zip(self.labels, self.scores.tolist(), self.boxes.tolist(), strict=True)
        return [{"label": label, "score": score, "box": box} for label, score, box in found]

    def draw(self) -> np.ndarray:
        """Draw the image with boxes, names and scores, (H, W, 3) uint8, RGB. Small images are enlarged to be
        readable."""
        from ..visualization.drawing import draw_boxes  # matplotlib is slow to import

        scale = max(1.0, SMALLEST_PICTURE / max(self.image.shape))
        picture = self.image
        if scale > 1:
            height, width = (round(x * scale) for x in picture.shape[:2])
            picture = np.asarray(Image.fromarray(picture).resize((width, height)))
        texts = [f"{label} {score:.0%}" for label, score in zip(self.labels, self.scores, strict=True)]
        return draw_boxes(picture, self.boxes * scale, labels=self.instances.pred_classes.tolist(), texts=texts)
