"""Rename table of the original code of Deformable DETR and DAB-Deformable-DETR, two-stage and denoising included."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from .blocks import (
    anchor_mlps,
    count_layers,
    deformable_attention,
    deformable_heads,
    feed_forward,
    multi_head_attention,
    torchvision_resnet,
)
from .rename import RenameTable, Rule


def layers() -> Iterator[Rule]:
    theirs, ours = "transformer.encoder.layers.{i}", "encoder.layers.{i}"
    yield from deformable_attention(f"{theirs}.self_attn", f"{ours}.attention")
    yield from feed_forward(theirs, ours, norms=(1, 2))
    theirs, ours = "transformer.decoder.layers.{i}", "decoder.layers.{i}"
    yield from multi_head_attention(f"{theirs}.self_attn", f"{ours}.self_attention")
    yield from deformable_attention(f"{theirs}.cross_attn", f"{ours}.cross_attention")
    yield from feed_forward(theirs, ours, norms=(2, 1, 3))  # numbered as written, not in the order of use


def deformable_table(*, num_layers: int, refined: bool, two_stage: bool) -> RenameTable:
    """(DAB-)Deformable-DETR in the original. refined: each layer has its own heads."""
    decoder = "transformer.decoder"
    return RenameTable(
        [
            *torchvision_resnet("backbone.0.body.", "backbone."),
            Rule("input_proj.{i}.{j}.{p}", "neck.projections.{i}.{j}.{p}"),
            Rule("transformer.level_embed", "neck.level_embed"),
            Rule("refpoint_embed.weight", ("queries.centre", "queries.size"), axis=1),
            Rule("tgt_embed.weight", "queries.content"),
            Rule("patterns_embed.weight", "queries.patterns"),
            Rule("label_enc.weight", "denoising.labels"),
            Rule("query_embed.weight", ("queries.embed", "queries.content"), axis=1),
            Rule("transformer.reference_points.{p}", "queries.point_head.0.{p}"),
            Rule("transformer.enc_output.{p}", "queries.transform.{p}"),
            Rule("transformer.enc_output_norm.{p}", "queries.norm.{p}"),
            Rule("transformer.pos_trans.{p}", "queries.encode.{p}"),
            Rule("transformer.pos_trans_norm.{p}", "queries.encode_norm.{p}"),
            *layers(),
            *anchor_mlps(decoder),
            *deformable_heads(num_layers, refined, two_stage),
        ]
    )


def table_of_theirs(state: Mapping[str, Tensor]) -> RenameTable:
    """The table for a state dict of the original, chosen by its keys."""
    num_layers = sum(key.startswith("transformer.decoder.layers.") and key.endswith("norm1.bias") for key in state)
    refined = "transformer.decoder.bbox_embed.0.layers.0.bias" in state
    two_stage = "transformer.enc_output.weight" in state
    return deformable_table(num_layers=num_layers, refined=refined, two_stage=two_stage)


def table_of_ours(state: Mapping[str, Tensor]) -> RenameTable:
    """The table for a state dict of ours, chosen by its keys."""
    return deformable_table(
        num_layers=count_layers(state),
        refined="decoder.box_heads.1.0.weight" in state,
        two_stage="queries.transform.weight" in state,
    )
