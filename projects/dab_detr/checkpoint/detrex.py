"""Rename tables of detrex: DAB-DETR, DAB-Deformable-DETR (two-stage included) and both with denoising."""

from collections.abc import Iterator, Mapping

from torch import Tensor

from .blocks import (
    anchor_mlps,
    around_layers,
    channel_mapper,
    count_keys,
    count_layers,
    deformable_heads,
    mlp,
    mmcv_deformable_layers,
    mmcv_feed_forward,
    multi_head_attention,
    torchvision_resnet,
)
from .rename import RenameTable, Rule


def backbone(torchvision_names: bool) -> Iterator[Rule]:
    """Detectron2's ResNet, with the same names as here, or torchvision's, in the models with DC5."""
    names = torchvision_resnet("backbone.body.", "backbone.")
    yield from names if torchvision_names else [Rule("backbone.{r}", "backbone.{r}")]


def conditional_attention(theirs: str, ours: str) -> Iterator[Rule]:
    names = {"query_content": "query", "query_pos": "query_position", "query_pos_sine": "query_spatial"}
    names |= {"key_content": "key", "key_pos": "key_position", "value": "value"}
    for name, projection in names.items():
        yield Rule(f"{theirs}.{name}_proj.{{p}}", f"{ours}.{projection}.{{p}}")
    yield Rule(f"{theirs}.out_proj.{{p}}", f"{ours}.out.{{p}}")


def dab_detr_table(*, torchvision_names: bool) -> RenameTable:
    """DAB-DETR and DN-DETR with anchor boxes and one box head."""
    encoder, decoder = "transformer.encoder", "transformer.decoder"
    layer = f"{decoder}.layers.{{i}}"
    return RenameTable(
        [
            *backbone(torchvision_names),
            *around_layers(
                projection="input_proj",
                anchors="anchor_box_embed.weight",
                patterns="transformer.patterns.weight",
                encoder=encoder,
                decoder=decoder,
                norm=f"{decoder}.post_norm_layer",
            ),
            Rule("denoising_generator.label_encoder.weight", "denoising.labels"),
            *multi_head_attention(f"{encoder}.layers.{{i}}.attentions.0.attn", "encoder.layers.{i}.attention"),
            *mmcv_feed_forward(f"{encoder}.layers.{{i}}", "encoder.layers.{i}", norms=(1, 2)),
            *conditional_attention(f"{layer}.attentions.0", "decoder.layers.{i}.self_attention"),
            *conditional_attention(f"{layer}.attentions.1", "decoder.layers.{i}.cross_attention"),
            *mmcv_feed_forward(layer, "decoder.layers.{i}", norms=(1, 2, 3)),
            *mlp("bbox_embed", "decoder.box_heads.0", 3, copies=[f"{decoder}.bbox_embed"]),
        ]
    )


def deformable_table(
    *, num_layers: int, num_maps: int, refined: bool, two_stage: bool, dino: bool = False
) -> RenameTable:
    """DAB-Deformable-DETR or DINO. num_maps: the number of maps of the backbone."""
    decoder = "transformer.decoder"
    return RenameTable(
        [
            *backbone(torchvision_names=False),
            *channel_mapper(num_maps, norm="norm"),
            Rule("transformer.level_embeds", "neck.level_embed"),
            Rule("refpoint_embed.weight", ("queries.centre", "queries.size"), axis=1),
            Rule("transformer.tgt_embed.weight" if dino else "tgt_embed.weight", "queries.content"),
            Rule("label_enc.weight" if dino else "label_encoder.weight", "denoising.labels"),
            Rule(f"{decoder}.norm.{{p}}", "decoder.norm.{p}"),
            Rule("transformer.enc_output.{p}", "queries.transform.{p}"),
            Rule("transformer.enc_output_norm.{p}", "queries.norm.{p}"),
            *mmcv_deformable_layers("transformer"),
            *anchor_mlps(decoder),
            *deformable_heads(num_layers, refined, two_stage),
        ]
    )


def table_of_theirs(state: Mapping[str, Tensor]) -> RenameTable:
    """The table for a state dict of detrex, chosen by its keys."""
    if "transformer.level_embeds" not in state:
        return dab_detr_table(torchvision_names="backbone.body.conv1.weight" in state)
    return deformable_table(
        num_layers=count_keys(state, "transformer.decoder.layers.", ".norms.0.bias"),
        num_maps=count_keys(state, "neck.convs.", ".conv.weight"),
        refined="transformer.decoder.bbox_embed.0.layers.0.bias" in state,
        two_stage="transformer.enc_output.weight" in state,
        dino="transformer.tgt_embed.weight" in state,
    )


def table_of_ours(state: Mapping[str, Tensor], torchvision_names: bool = False) -> RenameTable:
    """The table for a state dict of ours, chosen by its keys. torchvision_names: whether the backbone has torchvision's
    names, as in DC5."""
    if "neck.level_embed" not in state:
        return dab_detr_table(torchvision_names=torchvision_names)
    kernels = {key: x.shape[-1] for key, x in state.items() if key.startswith("neck.projections.") and x.ndim == 4}
    return deformable_table(
        num_layers=count_layers(state),
        num_maps=sum(size == 1 for size in kernels.values()),
        refined="decoder.box_heads.1.0.weight" in state,
        two_stage="queries.transform.weight" in state,
        dino={"queries.transform.weight", "queries.content"} <= state.keys(),
    )
