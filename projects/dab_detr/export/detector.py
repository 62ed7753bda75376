"""Runs an exported file behind a detector's interface: Detectron2's inputs in, its instances out."""

import os
from collections.abc import Sequence

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
        self.path, self.exported = path, ExportedModel(path)
        self.metadata = self.exported.metadata
        self.num_classes = len(self.metadata.class_names)

    def check_classes(self, names: Sequence[str] | None) -> None:
        """Raise ValueError if the classes of a dataset are not those of the file, in the same order."""
        ours = list(self.metadata.class_names)
        if names is None or list(names) == ours:
            return
        place = next((i for i, pair in enumerate(zip(ours, names, strict=False)) if pair[0] != pair[1]), None)
        what = f"{len(ours)} and {len(names)}" if place is None else f"{ours[place]!r} and {names[place]!r} at {place}"
        raise ValueError(
            f"{self.path} and dataset.val have other classes ({what}): an exported file needs its own classes in their "
            "order; export the checkpoint again for this data, or give the data that it was exported for"
        )

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
