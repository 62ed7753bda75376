"""Hugging Face transformers' detectors with our weights, in their fastest setting."""

from collections.abc import Callable, Iterator, Sequence

import torch
from detectron2.structures import ImageList
from torch import Tensor, nn
from transformers import (
    DabDetrConfig,
    DabDetrForObjectDetection,
    DeformableDetrConfig,
    DeformableDetrForObjectDetection,
    TimmBackboneConfig,
)

from dab_detr.checkpoint.blocks import deformable_attention, mlp, torchvision_resnet
from dab_detr.checkpoint.rename import RenameTable, Rule
from dab_detr.checkpoint.transformers import dab_detr_table
from dab_detr.detector import DABDETR, padding_of
from dab_detr.modeling.structures import Target
from dab_detr.modeling.transformer import DeformableEncoder


def same_model(ours: DABDETR) -> nn.Module:
    """Build their model with our weights, on the same device, with the same layers frozen and without dropout.

    It computes attention in only one way: products and softmax in DAB-DETR, `grid_sample` in Deformable DETR.

    Raises ValueError unless ours is one of these two on a ResNet-50.
    """
    deformable = isinstance(ours.encoder, DeformableEncoder)
    theirs, table = deformable_detr(ours) if deformable else dab_detr(ours)
    state, unknown = table.to_theirs(ours.state_dict())
    own = ("num_batches_tracked", "decoder.bbox_embed")  # a counter, and the second name of the box head
    fits = all(x.shape == state[name].shape for name, x in theirs.state_dict().items() if name in state)
    missing, unexpected = theirs.load_state_dict(state, strict=False) if fits else ((), state)
    if unknown or unexpected or not all(any(part in name for part in own) for name in missing):
        raise ValueError(
            "transformers has only the models of configs/dab_detr_r50_50ep.py and configs/deformable_detr_r50_50ep.py: "
            "remove --peer"
        )
    for name, parameter in backbone_of(theirs).named_parameters():
        parameter.requires_grad_(not is_frozen(name))
    return theirs.to(ours.device).train(ours.training)


def dab_detr(ours: DABDETR) -> tuple[DabDetrForObjectDetection, RenameTable]:
    """Their DAB-DETR, and the table of its weights."""
    config = DabDetrConfig(
        backbone_config=resnet50([4]),
        num_labels=ours.num_classes,
        num_queries=ours.queries.num_queries,
        dropout=0.0,
        auxiliary_loss=True,
    )
    return DabDetrForObjectDetection(config), dab_detr_table()


def deformable_detr(ours: DABDETR) -> tuple[DeformableDetrForObjectDetection, RenameTable]:
    """Their Deformable DETR, and the table of its weights."""
    layers = {"encoder_layers": len(ours.encoder.layers), "decoder_layers": len(ours.decoder.layers)}
    config = DeformableDetrConfig(
        backbone_config=resnet50([2, 3, 4]),
        num_labels=ours.num_classes,
        num_queries=ours.queries.num_queries,
        dropout=0.0,
        auxiliary_loss=True,
        **layers,
    )
    return DeformableDetrForObjectDetection(config), RenameTable(deformable_rules(layers["decoder_layers"]))


def resnet50(maps: list[int]) -> TimmBackboneConfig:
    """The config of their backbone with the given maps."""
    return TimmBackboneConfig(backbone="resnet50", use_pretrained_backbone=False, out_indices=maps, features_only=True)


def deformable_rules(layers: int) -> Iterator[Rule]:
    """Yield the rules for Deformable DETR in transformers 5.18. layers: the decoder's, which share their heads."""
    yield from torchvision_resnet("model.backbone.model.", "backbone.")
    yield Rule("model.input_proj.{i}.{j}.{p}", "neck.projections.{i}.{j}.{p}")
    yield Rule("model.level_embed", "neck.level_embed")
    yield Rule("model.query_position_embeddings.weight", ("queries.embed", "queries.content"), axis=1)
    yield Rule("model.reference_points.{p}", "queries.point_head.0.{p}")
    for part, attention, norms in (("encoder", "self_attn", 1), ("decoder", "encoder_attn", 2)):
        theirs, ours = f"model.{part}.layers.{{i}}", f"{part}.layers.{{i}}"
        own = "attention" if part == "encoder" else "cross_attention"
        yield from deformable_attention(f"{theirs}.{attention}", f"{ours}.{own}")
        yield Rule(f"{theirs}.{attention}_layer_norm.{{p}}", f"{ours}.norm{norms}.{{p}}")
        yield Rule(f"{theirs}.final_layer_norm.{{p}}", f"{ours}.norm{norms + 1}.{{p}}")
        for name, linear in {"fc1": "linear1", "fc2": "linear2"}.items():
            yield Rule(f"{theirs}.mlp.{name}.{{p}}", f"{ours}.ffn.{linear}.{{p}}")
    theirs, ours = "model.decoder.layers.{i}.self_attn", "decoder.layers.{i}"
    for name, projection in {"q": "query", "k": "key", "v": "value", "o": "out"}.items():
        yield Rule(f"{theirs}.{name}_proj.{{p}}", f"{ours}.self_attention.{projection}.{{p}}")
    yield Rule(f"{theirs}_layer_norm.{{p}}", f"{ours}.norm1.{{p}}")
    copies = range(1, layers)
    yield Rule("class_embed.0.{p}", "decoder.class_heads.0.{p}", copies=tuple(f"class_embed.{i}.{{p}}" for i in copies))
    yield from mlp("bbox_embed.0", "decoder.box_heads.0", 3, copies=[f"bbox_embed.{i}" for i in copies])


def backbone_of(theirs: nn.Module) -> nn.Module:
    """The part of their model that turns pixels and a mask into maps and masks."""
    return getattr(theirs.model.backbone, "conv_encoder", theirs.model.backbone)


def is_frozen(name: str) -> bool:
    """Whether a parameter belongs to the stem or the first stage, which our model freezes."""
    parts = name.split(".")
    return "layer1" in parts or not any(part.startswith("layer") for part in parts)


def tensors(images: ImageList) -> tuple[Tensor, Tensor]:
    """The inputs of their model: pixels, and a mask that is 1 inside the image."""
    return images.tensor, (~padding_of(images)).long()


def labels(targets: Sequence[Target]) -> list[dict[str, Tensor]]:
    """Targets in the form that their model takes."""
    return [{"class_labels": target.labels, "boxes": target.boxes} for target in targets]


class GivenFeatures(nn.Module):
    """Replaces their backbone. It returns given feature maps (B, C, h, w), which have no padding."""

    def __init__(self, features: Sequence[Tensor]):
        super().__init__()
        self.answer = [(x, torch.ones_like(x[:, 0], dtype=torch.bool)) for x in features]

    def forward(self, pixel_values: Tensor, pixel_mask: Tensor) -> list[tuple[Tensor, Tensor]]:
        return self.answer


def give_features(theirs: nn.Module, features: Sequence[Tensor]) -> None:
    """Replace their backbone with given feature maps."""
    given = GivenFeatures(features)
    if hasattr(theirs.model.backbone, "conv_encoder"):
        theirs.model.backbone.conv_encoder = given
    else:
        theirs.model.backbone = given


@torch.no_grad()
def check_same(ours: tuple[Tensor, Tensor], theirs: Callable, tolerance: float = 1e-3) -> None:
    """Raise RuntimeError if logits or boxes of the last layer differ, because the two models are then not the same."""
    output = theirs()
    pairs = zip(ours, (output.logits, output.pred_boxes), strict=True)
    apart = max((a - b).abs().max().item() for a, b in pairs)
    if apart > tolerance:
        raise RuntimeError(f"our outputs and those of transformers differ by {apart:.2g}: the weights are not the same")


def loss(theirs: nn.Module, logits: Tensor, boxes: Tensor, labels: list[dict[str, Tensor]]) -> Tensor:
    """Their loss on the predictions of all layers, as their training computes it."""
    answers = (logits[-1], labels, logits.device, boxes[-1], theirs.config, logits, boxes)
    return theirs.loss_function(*answers)[0]
