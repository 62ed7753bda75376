"""Rename tables of the original code of DAB-DETR, DN-DETR and (DAB-)Deformable-DETR."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from .blocks import anchor_mlps, feed_forward, mlp, multi_head_attention, torchvision_resnet
from .rename import RenameTable, Rule


def encoder_layers() -> Iterator[Rule]:
    """The encoder's layers: attention, feed-forward network, norms."""
    theirs, ours = "transformer.encoder.layers.{i}", "encoder.layers.{i}"
    yield from multi_head_attention(f"{theirs}.self_attn", f"{ours}.attention")
    yield from feed_forward(theirs, ours, norms=(1, 2))


def decoder_layers() -> Iterator[Rule]:
    """The decoder's layers: attention, feed-forward network, norms."""
    theirs, ours = "transformer.decoder.layers.{i}", "decoder.layers.{i}"
    projections = {
        "qcontent": "query",
        "qpos": "query_position",
        "kcontent": "key",
        "kpos": "key_position",
        "v": "value",
    }
    for name, projection in projections.items():
        yield Rule(f"{theirs}.sa_{name}_proj.{{p}}", f"{ours}.self_attention.{projection}.{{p}}")
        yield Rule(f"{theirs}.ca_{name}_proj.{{p}}", f"{ours}.cross_attention.{projection}.{{p}}")
    yield Rule(f"{theirs}.ca_qpos_sine_proj.{{p}}", f"{ours}.cross_attention.query_spatial.{{p}}")
    yield Rule(f"{theirs}.self_attn.out_proj.{{p}}", f"{ours}.self_attention.out.{{p}}")
    yield Rule(f"{theirs}.cross_attn.out_proj.{{p}}", f"{ours}.cross_attention.out.{{p}}")
    yield from feed_forward(theirs, ours, norms=(1, 2, 3))


def dab_detr_table(*, points: bool, shared_box_head: bool, refined: bool = True) -> RenameTable:
    """DAB-DETR in the original. points: anchors are 2-D. shared_box_head: one head for all layers. refined: anchors are
    updated, so the original stores its box heads a second time, in the decoder."""
    anchors = ("queries.centre",) if points else ("queries.centre", "queries.size")
    head = ("", "0") if shared_box_head else (".{i}", "{i}")
    decoder = "transformer.decoder"
    return RenameTable(
        [
            *torchvision_resnet("backbone.0.body.", "backbone."),
            Rule("input_proj.{p}", "neck.projection.{p}"),
            Rule("refpoint_embed.weight", anchors, axis=1),
            Rule("transformer.patterns.weight", "queries.patterns"),
            Rule("label_enc.weight", "denoising.labels"),
            *mlp("transformer.encoder.query_scale", "encoder.position_scale", 2),
            *encoder_layers(),
            *decoder_layers(),
            Rule(f"{decoder}.norm.{{p}}", "decoder.norm.{p}"),
            *anchor_mlps(decoder),
            Rule(f"{decoder}.query_scale.weight", "decoder.prior.scale.weight"),
            Rule("class_embed.{p}", "decoder.class_heads.0.{p}"),
            *mlp(
                f"bbox_embed{head[0]}",
                f"decoder.box_heads.{head[1]}",
                3,
                copies=[f"{decoder}.bbox_embed{head[0]}"] if refined else [],
            ),
        ]
    )


def table_of_theirs(state: Mapping[str, Tensor]) -> RenameTable:
    """The table for a state dict of the original, chosen by its keys."""
    return dab_detr_table(
        points=state["refpoint_embed.weight"].shape[1] == 2,
        shared_box_head="bbox_embed.layers.0.weight" in state,
    )


def table_of_ours(state: Mapping[str, Tensor], refined: bool = True) -> RenameTable:
    """The table for a state dict of ours, chosen by its keys, which do not show whether anchors are refined."""
    return dab_detr_table(
        points="queries.size" not in state,
        shared_box_head="decoder.box_heads.1.0.weight" not in state,
        refined=refined,
    )
