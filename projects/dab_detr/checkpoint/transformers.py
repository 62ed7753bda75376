"""Rename table of the Hugging Face transformers library, DabDetrForObjectDetection (4.57, 5.x and before)."""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from .blocks import around_layers, mlp, torchvision_resnet
from .rename import RenameTable, Rule


def encoder_layers() -> Iterator[Rule]:
    """The encoder's layers: attention, feed-forward network, norms."""
    theirs, ours = "model.encoder.layers.{i}", "encoder.layers.{i}"
    for name, projection in {"q": "query", "k": "key", "v": "value"}.items():
        yield Rule(f"{theirs}.self_attn.{name}_proj.{{p}}", f"{ours}.attention.{projection}.{{p}}")
    yield Rule(f"{theirs}.self_attn.out_proj.{{p}}", f"{ours}.attention.out.{{p}}")
    yield from feed_forward(theirs, ours)
    yield Rule(f"{theirs}.self_attn_layer_norm.{{p}}", f"{ours}.norm1.{{p}}")
    yield Rule(f"{theirs}.final_layer_norm.{{p}}", f"{ours}.norm2.{{p}}")


PARTS = ("self_attn", "cross_attn", "mlp")  # the parts of a decoder layer
EARLY_PARTS = ("layer.0", "layer.1", "layer.2")  # in the first files


def decoder_layers(parts: Sequence[str]) -> Iterator[Rule]:
    """The decoder's layers: attention, feed-forward network, norms."""
    ours = "decoder.layers.{i}"
    self_attn, cross_attn, mlp = (f"model.decoder.layers.{{i}}.{part}" for part in parts)
    shared = {"query_content": "query", "query_pos": "query_position", "key_content": "key"}
    shared |= {"key_pos": "key_position", "value": "value", "query_pos_sine": "query_spatial"}
    for theirs, kind, attention in (
        (self_attn, "self_attn", "self_attention"),
        (cross_attn, "cross_attn", "cross_attention"),
    ):
        for name, projection in shared.items():
            yield Rule(f"{theirs}.{kind}_{name}_proj.{{p}}", f"{ours}.{attention}.{projection}.{{p}}")
        yield Rule(f"{theirs}.{kind}.output_proj.{{p}}", f"{ours}.{attention}.out.{{p}}")
    yield from feed_forward(mlp, ours)
    yield Rule(f"{self_attn}.self_attn_layer_norm.{{p}}", f"{ours}.norm1.{{p}}")
    yield Rule(f"{cross_attn}.cross_attn_layer_norm.{{p}}", f"{ours}.norm2.{{p}}")
    yield Rule(f"{mlp}.final_layer_norm.{{p}}", f"{ours}.norm3.{{p}}")


def feed_forward(theirs: str, ours: str) -> Iterator[Rule]:
    for name, linear in {"fc1": "linear1", "fc2": "linear2"}.items():
        yield Rule(f"{theirs}.{name}.{{p}}", f"{ours}.ffn.{linear}.{{p}}")
    yield Rule(f"{theirs}.activation_fn.weight", f"{ours}.ffn.activation.weight")


BOX_HEADS = ("bbox_predictor", "model.decoder.bbox_embed")  # names of the one box head: in files of 5.x, of 4.57


def dab_detr_table(box_head: str = BOX_HEADS[0], parts: Sequence[str] = PARTS) -> RenameTable:
    """DAB-DETR with anchor boxes. box_head: its name in written files (both are read). parts: those of a layer."""
    return RenameTable(
        [
            *torchvision_resnet("model.backbone.conv_encoder.model._backbone.", "backbone."),
            *around_layers(
                projection="model.input_projection",
                anchors="model.query_refpoint_embeddings.weight",
                patterns="model.patterns.weight",
                encoder="model.encoder",
                decoder="model.decoder",
                norm="model.decoder.layernorm",
            ),
            *encoder_layers(),
            *decoder_layers(parts),
            *mlp(box_head, "decoder.box_heads.0", 3, aliases=BOX_HEADS),
        ]
    )


def table_of_theirs(state: Mapping[str, Tensor]) -> RenameTable:
    """The table for a state dict of transformers, by the names of its box head and its decoder layers' parts."""
    early = "model.decoder.layers.0.layer.0.self_attn_layer_norm.weight" in state
    return dab_detr_table(
        next((name for name in BOX_HEADS if f"{name}.layers.0.weight" in state), BOX_HEADS[0]),
        EARLY_PARTS if early else PARTS,
    )
