"""Rename tables of the original code of Deformable DETR and DAB-Deformable-DETR, two-stage and denoising included, and
of DINO."""

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from .blocks import (
    anchor_mlps,
    count_layers,
    deformable_attention,
    deformable_heads,
    feed_forward,
    mlp,
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


def dino_table(*, num_layers: int, shared: Mapping[str, bool]) -> RenameTable:
    """DINO in the original, which stores every head twice. shared: whether "class" and "bbox" heads are alike in all
    layers, so that all their keys have one tensor."""
    decoder, rules = "transformer.decoder", []
    for i in range(num_layers):
        classes, boxes = (0 if shared[kind] else i for kind in ("class", "bbox"))
        for prefix in ("", f"{decoder}."):
            rules.append(Rule(f"{prefix}class_embed.{i}.{{p}}", f"decoder.class_heads.{classes}.{{p}}"))
            rules.extend(mlp(f"{prefix}bbox_embed.{i}", f"decoder.box_heads.{boxes}", 3))
    return RenameTable(
        [
            *torchvision_resnet("backbone.0.body.", "backbone."),
            Rule("backbone.0.{r}", "backbone.{r}"),  # Swin, with the names of Detectron2's
            Rule("input_proj.{i}.{j}.{p}", "neck.projections.{i}.{j}.{p}"),
            Rule("transformer.level_embed", "neck.level_embed"),
            Rule("transformer.tgt_embed.weight", "queries.content"),
            Rule("label_enc.weight", "denoising.labels"),
            Rule("transformer.enc_output.{p}", "queries.transform.{p}"),
            Rule("transformer.enc_output_norm.{p}", "queries.norm.{p}"),
            Rule("transformer.enc_out_class_embed.{p}", "queries.class_head.{p}"),
            *mlp("transformer.enc_out_bbox_embed", "queries.box_head", 3),
            Rule(f"{decoder}.norm.{{p}}", "decoder.norm.{p}"),
            *layers(),
            *anchor_mlps(decoder),
            *rules,
        ]
    )


def without_unread_label(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The renamed state dict of a DINO without the last row of its label table, which nothing in the original reads."""
    state = dict(state)
    if "denoising.labels" in state:
        state["denoising.labels"] = state["denoising.labels"][: len(state["queries.class_head.bias"])]
    return state


def is_shared(state: Mapping[str, Tensor], kind: str) -> bool:
    """Whether the heads of all layers, of the kind "class" or "bbox", are the same."""
    heads = [key for key in state if key.startswith(f"{kind}_embed.")]
    firsts = [re.sub(r"\d+", "0", key, count=1) for key in heads]
    return all(torch.equal(state[key], state[first]) for key, first in zip(heads, firsts, strict=True))


def table_of_theirs(state: Mapping[str, Tensor]) -> RenameTable:
    """The table for a state dict of the original, chosen by its keys."""
    num_layers = sum(key.startswith("transformer.decoder.layers.") and key.endswith("norm1.bias") for key in state)
    refined = "transformer.decoder.bbox_embed.0.layers.0.bias" in state
    two_stage = "transformer.enc_output.weight" in state
    if "transformer.tgt_embed.weight" in state:
        return dino_table(num_layers=num_layers, shared={kind: is_shared(state, kind) for kind in ("class", "bbox")})
    return deformable_table(num_layers=num_layers, refined=refined, two_stage=two_stage)


def table_of_ours(state: Mapping[str, Tensor]) -> RenameTable:
    """The table for a state dict of ours, chosen by its keys."""
    return deformable_table(
        num_layers=count_layers(state),
        refined="decoder.box_heads.1.0.weight" in state,
        two_stage="queries.transform.weight" in state,
    )
