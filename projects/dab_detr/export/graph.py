"""The graph to export, from images to detections. Nothing is left to do before or after it."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..detector import DABDETR, padding_outside, select
from ..modeling.deformable import DeformableAttention, sample_by_gathering
from ..modeling.optimization import optimize_for_inference
from ..modeling.part import declared
from ..modeling.selection import NO_GRAPH


class DetectionGraph(nn.Module):
    """A detector as one graph of tensors: normalization, padding mask, top-k and clipping are inside.

    model: the detector; the graph works on an optimized copy of it, in fp32.
    threshold: lowest score of a detection that `number` counts.
    gather: deformable attention gathers its cells instead of calling `grid_sample`.

    Raises ValueError for a selection that needs the boxes, as soft-NMS does.
    """

    def __init__(
        self,
        model: DABDETR,
        *,
        threshold: float = 0.0,
        gather: bool = False,
    ):
        super().__init__()
        if declared(model.selection, "by_boxes"):
            raise ValueError(NO_GRAPH)
        model = copy.deepcopy(model).cpu().float()
        model.precision = "fp32"
        self.model = optimize_for_inference(model)
        self.threshold = threshold
        for module in self.model.modules():
            if gather and isinstance(module, DeformableAttention):
                module.sample = sample_by_gathering

    def forward(self, images: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Detections in a batch of images.

        images: (B, 3, H, W) RGB, 0 to 255, each in the upper left corner; the rest is padding and may hold anything.
        sizes: (B, 2) int64, true height and width of each image.

        Returns boxes (B, N, 4) as xyxy in pixels of the images, scores (B, N), labels (B, N) int64, best first, and
        number (B,) int64: the first `number` of them are detections. The others have score 0.
        """
        model = self.model
        padding = padding_outside(sizes, *images.shape[-2:])
        pixels = images.to(model.pixel_mean.dtype)
        pixels = pixels.flip(1) if model.input_format == "BGR" else pixels
        pixels = ((pixels - model.pixel_mean) / model.pixel_std).masked_fill(padding[:, None], 0.0)
        pixels, padding = self.to_divisible(pixels, padding)
        prediction = model.detect(model.backbone(pixels), padding)
        boxes, scores, labels, _ = select(model.selection, prediction, sizes)
        return self.clipped(boxes, scores, labels, sizes)

    def to_divisible(self, pixels: Tensor, padding: Tensor) -> tuple[Tensor, Tensor]:
        """Pad images and padding to sides that the backbone can divide, if it requires that."""
        divisor = self.model.backbone.size_divisibility
        if divisor <= 1:
            return pixels, padding
        height, width = pixels.shape[-2:]
        more = (0, -width % divisor, 0, -height % divisor)
        return F.pad(pixels, more), F.pad(padding, more, value=True)

    def clipped(
        self, boxes: Tensor, scores: Tensor, labels: Tensor, sizes: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Clip boxes to their images. Boxes that are empty, not finite or below the threshold move to the end."""
        limits = sizes.flip(-1).repeat(1, 2)[:, None].to(boxes.dtype)
        boxes = torch.minimum(boxes.relu(), limits)
        kept = (boxes[..., 2:] > boxes[..., :2]).all(-1) & (scores >= self.threshold)  # a NaN is neither
        scores, order = scores.masked_fill(~kept, -1.0).topk(scores.shape[1])
        boxes = boxes.gather(1, order[..., None].expand(-1, -1, 4))
        return boxes, scores.relu(), labels.gather(1, order), kept.sum(1)
