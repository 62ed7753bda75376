"""The meta-architecture: it turns images into losses or instances."""

from collections.abc import Sequence

import torch
from detectron2.modeling import detector_postprocess
from detectron2.structures import Boxes, ImageList, Instances
from torch import Tensor, nn
from torchvision.ops import box_convert

from .losses.batch import EffectiveBatch
from .losses.criterion import SetCriterion
from .modeling.boxes import full_precision
from .modeling.combination import check_combination
from .modeling.part import declared
from .modeling.precision import autocast, check_precision
from .modeling.recomputation import recompute
from .modeling.selection import Selection
from .modeling.structures import Prediction, Target


class DABDETR(nn.Module):
    """DAB-DETR (Dynamic Anchor Boxes are Better Queries for DETR, ICLR 2022). Other parts make the rest of its family.

    backbone: images (B, 3, H, W) to a dict of feature maps.
    neck: feature maps and padding to the Memory. encoder: Memory to Memory.
    queries: Memory to Queries. denoising: Queries, and targets in training, to Queries with noised ones.
    decoder: Queries and Memory to the Prediction of all layers.
    collaboration: in training, auxiliary heads on the Memory, which add to the Prediction; None trains without them.
    criterion: Prediction and targets to the dict of losses, which Detectron2 sums.
    num_classes: number of classes in the annotations and in the class head.
    pixel_mean, pixel_std: by channel, in the order and range (0 to 255) of the input images.
    selection: logits, and boxes if it asks for them, to scores, queries and classes of the detections.
    input_format: channel order of the images, "RGB" or "BGR", for the code that reads them.
    precision: "fp32", or "bf16" for backbone and transformer; boxes, matching and losses stay in fp32.
    activation_checkpointing: any of "backbone", "encoder", "decoder", to save memory in training.
    """

    def __init__(
        self,
        *,
        backbone: nn.Module,
        neck: nn.Module,
        encoder: nn.Module,
        queries: nn.Module,
        denoising: nn.Module,
        decoder: nn.Module,
        criterion: SetCriterion,
        num_classes: int,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        selection: Selection,
        collaboration: nn.Module | None = None,
        input_format: str = "RGB",
        precision: str = "fp32",
        activation_checkpointing: Sequence[str] = (),
    ):
        super().__init__()
        check_combination(
            backbone=backbone,
            neck=neck,
            encoder=encoder,
            queries=queries,
            denoising=denoising,
            decoder=decoder,
            criterion=criterion,
            selection=selection,
            collaboration=collaboration,
        )
        self.backbone, self.neck, self.encoder = backbone, neck, encoder
        self.queries, self.denoising, self.decoder, self.criterion = queries, denoising, decoder, criterion
        self.collaboration = collaboration
        self.num_classes, self.selection, self.input_format = num_classes, selection, input_format
        self.precision = check_precision(precision)
        recompute(self, activation_checkpointing)
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float).view(-1, 1, 1), persistent=False)

    @property
    def device(self) -> torch.device:
        return self.pixel_mean.device

    def forward(
        self, batched_inputs: list[dict], batch: EffectiveBatch | None = None
    ) -> dict[str, Tensor] | list[dict[str, Instances]]:
        """Follow Detectron2's contract: each dict has an `image` (3, H, W), and for training `instances`. If it has a
        `seed`, denoising draws its noise from that.

        batch: in training, the effective batch of these inputs; without one, it is these inputs alone.

        Returns the losses in training, otherwise a list of {"instances": Instances} with `pred_boxes` (xyxy pixels),
        `scores`, `pred_classes` and `query` (int64, the index of the query that answered), in the size (height, width)
        that the input asks for, by default that of the image.
        """
        images = self.preprocess(batched_inputs)
        targets = self.targets(batched_inputs) if self.training else None
        with autocast(self.precision, self.device):
            prediction = self.detect(self.backbone(images.tensor), padding_of(images), targets)
        if self.training:
            return self.criterion(prediction, targets, batch)
        return self.postprocess(prediction, images.image_sizes, batched_inputs)

    def preprocess(self, batched_inputs: list[dict]) -> ImageList:
        """Normalize the images, and pad them with zeros at the bottom and right, to the largest of the batch and to a
        multiple of the backbone's `size_divisibility`."""
        images = [x["image"].to(self.device, non_blocking=True) for x in batched_inputs]
        images = [((x - self.pixel_mean) / self.pixel_std).to(self.pixel_mean.dtype) for x in images]
        return ImageList.from_tensors(images, self.backbone.size_divisibility)

    def detect(
        self, features: dict[str, Tensor], padding: Tensor, targets: Sequence[Target] | None = None
    ) -> Prediction:
        """Predict with all decoder layers, from feature maps and the padding (B, H, W) of their images. Targets add
        denoising queries and auxiliary heads."""
        memory = self.encoder(self.neck(features, padding))
        queries = self.denoising(self.queries(memory), targets)
        prediction = self.decoder(queries, memory)
        if targets is None or self.collaboration is None:
            return prediction
        return self.collaboration(prediction, memory, padding, targets, self.decoder)

    def targets(self, batched_inputs: list[dict]) -> list[Target]:
        """The objects in the coordinates of the losses. Raises ValueError for inputs that training cannot use."""
        targets = []
        for x in batched_inputs:
            if "instances" not in x:
                raise ValueError(f"training needs 'instances' in every input, but {name_of(x)} has none")
            instances = x["instances"]
            labels = instances.gt_classes
            wrong = labels[(labels < 0) | (labels >= self.num_classes)].unique().tolist()
            if wrong:
                raise ValueError(
                    f"{name_of(x)} has objects of class {wrong}, but model.num_classes is {self.num_classes}"
                )
            height, width = instances.image_size
            size = torch.tensor([width, height, width, height], dtype=self.pixel_mean.dtype)
            boxes = box_convert(instances.gt_boxes.tensor / size.to(labels.device), "xyxy", "cxcywh")
            targets.append(Target(labels.to(self.device).long(), boxes.to(self.device), x.get("seed")))
        return targets

    def postprocess(
        self, prediction: Prediction, image_sizes: list[tuple[int, int]], batched_inputs: list[dict]
    ) -> list[dict[str, Instances]]:
        """Detections of the last layer in the image size that each input asks for."""
        sizes = sizes_of(image_sizes).to(prediction.boxes.device)
        boxes, scores, labels, query = select(self.selection, prediction, sizes)
        results = []
        for i, ((height, width), x) in enumerate(zip(image_sizes, batched_inputs, strict=True)):
            instances = Instances((height, width))
            instances.pred_boxes = Boxes(boxes[i])
            instances.scores, instances.pred_classes, instances.query = scores[i], labels[i], query[i]
            # Detectron2 asserts that boxes are finite, but an image full of inf gives others
            instances = instances[boxes[i].isfinite().all(1) & scores[i].isfinite()]
            instances = detector_postprocess(instances, x.get("height", height), x.get("width", width))
            results.append({"instances": instances})
        return results


def select(selection: Selection, prediction: Prediction, sizes: Tensor) -> tuple[Tensor, ...]:
    """Detections of the last layer, best first: boxes (B, N, 4) as xyxy in pixels, and scores, labels and query
    indices, each (B, N).

    sizes: (B, 2) height and width of each image in pixels. A tensor, because a traced graph would keep numbers.
    """
    boxes = (prediction.boxes[-1],) if declared(selection, "by_boxes") else ()
    scores, query, labels = selection(prediction.logits[-1], *boxes)
    boxes = box_convert(full_precision(prediction.boxes[-1]), "cxcywh", "xyxy")
    boxes = boxes.gather(1, query[..., None].expand(-1, -1, 4))
    return boxes * sizes.flip(-1).repeat(1, 2)[:, None], scores, labels, query


def sizes_of(image_sizes: Sequence[tuple[int, int] | Tensor]) -> Tensor:
    """(B, 2) height and width of each image, which `torch.jit.trace` gives as tensors."""
    return torch.stack([torch.as_tensor(size) for size in image_sizes])


def padding_of(images: ImageList) -> Tensor:
    """(B, H, W) bool, True where the batch holds padding instead of an image."""
    sizes = sizes_of(images.image_sizes).to(images.tensor.device)
    return padding_outside(sizes, *images.tensor.shape[-2:])


def padding_outside(sizes: Tensor, height: int, width: int) -> Tensor:
    """(B, height, width) bool, True outside images of these sizes (B, 2)."""
    y, x = torch.arange(height, device=sizes.device), torch.arange(width, device=sizes.device)
    return (y[:, None] >= sizes[:, :1, None]) | (x >= sizes[:, 1:, None])


def name_of(x: dict) -> str:
    """The name of an input in an error message."""
    return str(x.get("file_name", "an input without file_name"))
