"""Rename table of the Hugging Face transformers library, DabDetrForObjectDetection (4.57 and 5.x)."""

from collections.abc import Iterator, Mapping

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


def decoder_layers() -> Iterator[Rule]:
    """The decoder's layers: attention, feed-forward network, norms."""
    theirs, ours = "model.decoder.layers.{i}", "decoder.layers.{i}"
    shared = {"query_content": "query", "query_pos": "query_position", "key_content": "key"}
    shared |= {"key_pos": "key_position", "value": "value", "query_pos_sine": "query_spatial"}
    for part, attention in {"self_attn": "self_attention", "cross_attn": "cross_attention"}.items():
        for name, projection in shared.items():
            yield Rule(f"{theirs}.{part}.{part}_{name}_proj.{{p}}", f"{ours}.{attention}.{projection}.{{p}}")
        yield Rule(f"{theirs}.{part}.{part}.output_proj.{{p}}", f"{ours}.{attention}.out.{{p}}")
    yield from feed_forward(f"{theirs}.mlp", ours)
    yield Rule(f"{theirs}.self_attn.self_attn_layer_norm.{{p}}", f"{ours}.norm1.{{p}}")
    yield Rule(f"{theirs}.cross_attn.cross_attn_layer_norm.{{p}}", f"{ours}.norm2.{{p}}")
    yield Rule(f"{theirs}.mlp.final_layer_norm.{{p}}", f"{ours}.norm3.{{p}}")


def feed_forward(theirs: str, ours: str) -> Iterator[Rule]:
    for name, linear in {"fc1": "linear1", "fc2": "linear2"}.items():
        yield Rule(f"{theirs}.{name}.{{p}}", f"{ours}.ffn.{linear}.{{p}}")
    yield Rule(f"{theirs}.activation_fn.weight", f"{ours}.ffn.activation.weight")


BOX_HEADS = ("bbox_predictor", "model.decoder.bbox_embed")  # names of the one box head: in files of 5.x, of 4.57


def dab_detr_table(box_head: str = BOX_HEADS[0]) -> RenameTable:
    """DAB-DETR with anchor boxes. box_head: the name that is written; both are read."""
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
            *decoder_layers(),
            *mlp(box_head, "decoder.box_heads.0", 3, aliases=BOX_HEADS),
        ]
    )


def table_of_theirs(state: Mapping[str, Tensor]) -> RenameTable:
    """The table for a state dict of transformers, by the name of its box head."""
    return dab_detr_table(next((name for name in BOX_HEADS if f"{name}.layers.0.weight" in state), BOX_HEADS[0]))
