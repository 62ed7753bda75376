"""Rename table of Co-DETR: Co-DINO and Co-Deformable-DETR, by the authors' code and by mmdetection 3."""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from .blocks import channel_mapper, count_keys, mmcv_deformable_layers, torchvision_resnet
from .rename import RenameTable, Rule

TRANSFORMER = "query_head.transformer"
HEADS = {"rcnn": "roi_head.0.bbox_head.fc_cls.weight", "atss": "bbox_head.0.atss_cls.weight"}  # in their order

ENCODINGS = {  # the encodings of a head's samples
    "aux_pos_trans": "box.0",
    "aux_pos_trans_norm": "box.1",
    "pos_feats_trans": "feature.0",
    "pos_feats_norm": "feature.1",
}


def detector(num_layers: int, num_maps: int) -> Iterator[Rule]:
    """Yield the rules for the parts that detect, except the backbone.

    num_layers: layers of the decoder; the heads with this index belong to the encoder. num_maps: the backbone's maps.
    """
    yield from channel_mapper(num_maps, norm="gn")
    yield Rule(f"{TRANSFORMER}.level_embeds", "neck.level_embed")
    yield from mmcv_deformable_layers(TRANSFORMER)
    yield Rule(f"{TRANSFORMER}.decoder.ref_point_head.{{i}}.{{p}}", "decoder.prior.embed.{i}.{p}")
    yield Rule(f"{TRANSFORMER}.decoder.norm.{{p}}", "decoder.norm.{p}")
    for theirs, ours in {
        "enc_output": "transform",
        "enc_output_norm": "norm",
        "pos_trans": "encode",
        "pos_trans_norm": "encode_norm",
    }.items():
        yield Rule(f"{TRANSFORMER}.{theirs}.{{p}}", f"queries.{ours}.{{p}}")
    yield Rule(f"{TRANSFORMER}.query_embed.weight", "queries.content", aliases=("query_head.query_embedding.weight",))
    yield Rule(f"query_head.cls_branches.{num_layers}.{{p}}", "queries.class_head.{p}")
    yield Rule(f"query_head.reg_branches.{num_layers}.{{i}}.{{p}}", "queries.box_head.{i}.{p}")
    yield Rule("query_head.cls_branches.{i}.{p}", "decoder.class_heads.{i}.{p}")
    yield Rule("query_head.reg_branches.{i}.{j}.{p}", "decoder.box_heads.{i}.{j}.{p}")
    yield Rule(
        "query_head.label_embedding.weight",
        "denoising.labels",
        aliases=("query_head.dn_generator.label_embedding.weight",),
    )


def auxiliary_heads(heads: Sequence[str]) -> Iterator[Rule]:
    """Yield the rules for the parts that only training has: RPN, RoI head, ATSS head, and queries from their samples.

    heads: the names in our models of the heads that give queries, in their order.
    """
    ours = "collaboration"
    yield Rule("query_head.downsample.{i}.{p}", f"{ours}.pyramid.coarser.0.{{i}}.{{p}}")
    for theirs, encoding in ENCODINGS.items():
        for i, head in enumerate(heads):
            yield Rule(f"{TRANSFORMER}.{theirs}.{i}.{{p}}", f"{ours}.encodings.{head}.{encoding}.{{p}}")
    for theirs, regions in {
        "rpn_head.rpn_conv": "rpn.conv",
        "rpn_head.rpn_cls": "rpn.objectness_logits",
        "rpn_head.rpn_reg": "rpn.anchor_deltas",
        "roi_head.0.bbox_head.shared_fcs.0": "box_head.fc1",
        "roi_head.0.bbox_head.shared_fcs.1": "box_head.fc2",
        "roi_head.0.bbox_head.fc_cls": "predictor.cls_score",
        "roi_head.0.bbox_head.fc_reg": "predictor.bbox_pred",
    }.items():
        yield Rule(f"{theirs}.{{p}}", f"{ours}.heads.rcnn.{regions}.{{p}}")
    for theirs, dense in {
        "cls_convs.0.conv": "class_tower.0",
        "cls_convs.0.gn": "class_tower.1",
        "reg_convs.0.conv": "box_tower.0",
        "reg_convs.0.gn": "box_tower.1",
        "atss_cls": "classes",
        "atss_reg": "boxes",
        "atss_centerness": "centerness",
    }.items():
        yield Rule(f"bbox_head.0.{theirs}.{{p}}", f"{ours}.heads.atss.{dense}.{{p}}")
    yield Rule("bbox_head.0.scales.{i}.scale", f"{ours}.heads.atss.scales.{{i}}")
    # not in our models: other heads, and a number per head that the released Co-Deformable-DETR has by mistake
    for theirs in ("rpn_head", "roi_head", "bbox_head", "mask_head"):
        yield Rule(f"{theirs}.{{r}}", f"{ours}.{theirs}.{{r}}")
    for theirs in (*ENCODINGS, "head_pos_embed"):
        yield Rule(f"{TRANSFORMER}.{theirs}.{{r}}", f"{ours}.{theirs}.{{r}}")


def table_of_theirs(state: Mapping[str, Tensor]) -> RenameTable:
    """The table for a state dict of Co-DETR, chosen by its keys."""
    num_layers = count_keys(state, f"{TRANSFORMER}.decoder.layers.", ".norms.0.bias")
    num_maps = count_keys(state, "neck.convs.", ".conv.weight")
    heads = [name for name, key in HEADS.items() if key in state]
    backbone = [Rule("backbone.{r}", "backbone.{r}")]  # Swin, with the names of Detectron2's
    if "backbone.conv1.weight" in state:
        backbone = torchvision_resnet("backbone.", "backbone.")
    return RenameTable([*backbone, *detector(num_layers, num_maps), *auxiliary_heads(heads)])


def completed(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the renamed state dict in the form of our models.

    Their convolutions before a norm have no bias; ours get zeros. Their proposal network orders its channels by ratio,
    then size; ours orders them by size, then ratio.
    """
    state = dict(state)
    for name, tensor in list(state.items()):
        if name.startswith("neck.projections.") and name.endswith(".0.weight"):
            state.setdefault(name.replace("weight", "bias"), tensor.new_zeros(len(tensor)))
        elif name.startswith(
            ("collaboration.heads.rcnn.rpn.objectness_logits", "collaboration.heads.rcnn.rpn.anchor_deltas")
        ):
            state[name] = tensor.unflatten(0, (3, 3, -1)).transpose(0, 1).flatten(0, 2)
    return state
