"""Runs an exported file behind a detector's interface: Detectron2's inputs in, its instances out."""

import os

import numpy as np
import torch
from detectron2.modeling import detector_postprocess
from detectron2.structures import Boxes, Instances
from torch import nn

from .runtime import ExportedModel


class ExportedDetector(nn.Module):
    """Takes what a `DABDETR` takes in evaluation and returns the same. It cannot be trained, and runs on the CPU."""

    input_format = "RGB"

    def __init__(self, path: str | os.PathLike):
        super().__init__()
        self.exported = ExportedModel(path)
        self.metadata = self.exported.metadata
        self.num_classes = len(self.metadata.class_names)

    def forward(self, batched_inputs: list[dict]) -> list[dict[str, Instances]]:
        """Instances in the size (height, width) that each input asks for, as `DABDETR.forward` in evaluation."""
        pictures = [x["image"].cpu().numpy().astype(self.metadata.image_type) for x in batched_inputs]
        sizes = np.array([x.shape[1:] for x in pictures])
        images = np.zeros((len(pictures), 3, *sizes.max(0)), self.metadata.image_type)
        for image, picture, (height, width) in zip(images, pictures, sizes, strict=True):
            image[:, :height, :width] = picture
        found = {name: torch.from_numpy(x) for name, x in self.exported(images, sizes).items()}
        results = []
        for i, (x, (height, width)) in enumerate(zip(batched_inputs, sizes.tolist(), strict=True)):
            instances, first = Instances((height, width)), slice(int(found["number"][i]))
            instances.pred_boxes = Boxes(found["boxes"][i, first])
            instances.scores, instances.pred_classes = found["scores"][i, first], found["labels"][i, first]
            instances = detector_postprocess(instances, x.get("height", height), x.get("width", width))
            results.append({"instances": instances})
        return results
