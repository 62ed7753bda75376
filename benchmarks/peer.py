"""Hugging Face transformers' DAB-DETR with the weights of ours, in its fastest setting."""

from collections.abc import Callable, Sequence

import torch
from detectron2.structures import ImageList
from torch import Tensor, nn
from transformers import DabDetrConfig, DabDetrForObjectDetection, TimmBackboneConfig

from dab_detr.checkpoint.transformers import dab_detr_table
from dab_detr.detector import DABDETR, padding_of
from dab_detr.modeling.structures import Target


def same_model(ours: DABDETR) -> DabDetrForObjectDetection:
    """Theirs with the weights of ours, on the same device, with the same layers frozen, without dropout.

    It has one way of attention, products and softmax. Raises ValueError where ours is not DAB-DETR on a ResNet-50.
    """
    config = DabDetrConfig(
        backbone_config=TimmBackboneConfig(
            backbone="resnet50", use_pretrained_backbone=False, out_indices=[4], features_only=True
        ),
        num_labels=ours.num_classes,
        num_queries=ours.queries.num_queries,
        dropout=0.0,
        auxiliary_loss=True,
    )
    theirs = DabDetrForObjectDetection(config)
    state, unknown = dab_detr_table().to_theirs(ours.state_dict())
    missing, unexpected = theirs.load_state_dict(state, strict=False)
    own = ("num_batches_tracked", "decoder.bbox_embed")  # a counter, and the second name of the box head
    if unknown or unexpected or not all(any(part in name for part in own) for name in missing):
        raise ValueError("transformers has the model of configs/dab_detr_r50_50ep.py only: leave out --peer")
    for name, parameter in theirs.model.backbone.conv_encoder.named_parameters():
        parameter.requires_grad_(not is_frozen(name))
    return theirs.to(ours.device).train(ours.training)


def is_frozen(name: str) -> bool:
    """Whether a parameter belongs to what ours freezes: the stem and the first stage."""
    parts = name.split(".")
    return "layer1" in parts or not any(part.startswith("layer") for part in parts)


def tensors(images: ImageList) -> tuple[Tensor, Tensor]:
    """The inputs of the peer: pixels, and a mask that is 1 where there is image."""
    return images.tensor, (~padding_of(images)).long()


def labels(targets: Sequence[Target]) -> list[dict[str, Tensor]]:
    return [{"class_labels": target.labels, "boxes": target.boxes} for target in targets]


class GivenFeatures(nn.Module):
    """In the place of their backbone: a feature map (B, C, h, w) that is there already, without padding."""

    def __init__(self, features: Tensor):
        super().__init__()
        self.answer = [(features, torch.ones_like(features[:, 0], dtype=torch.bool))]

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        return self.answer


@torch.no_grad()
def check_same(ours: tuple[Tensor, Tensor], theirs: Callable, tolerance: float = 1e-3) -> None:
    """Raises RuntimeError where the last layer's logits and boxes say that two different models would be compared."""
    output = theirs()
    pairs = zip(ours, (output.logits, output.pred_boxes), strict=True)
    apart = max((a - b).abs().max().item() for a, b in pairs)
    if apart > tolerance:
        raise RuntimeError(f"our outputs and those of transformers lie {apart:.2g} apart: the weights are not the same")


def loss(theirs: nn.Module, logits: Tensor, boxes: Tensor, labels: list[dict[str, Tensor]]) -> Tensor:
    """Theirs on the answers of all layers, as their training computes it."""
    answers = (logits[-1], labels, logits.device, boxes[-1], theirs.config, logits, boxes)
    return theirs.loss_function(*answers)[0]
