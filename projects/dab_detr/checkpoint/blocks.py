"""Rules for blocks that several rename tables share."""

from collections.abc import Iterator, Mapping, Sequence

from torch import Tensor

from .rename import Rule


def mlp(theirs: str, ours: str, layers: int, copies: Sequence[str] = (), aliases: Sequence[str] = ()) -> Iterator[Rule]:
    """An MLP: their `layers.0, 1, 2` are our 0, 2, 4, because ours counts the ReLUs too."""
    for i in range(layers):
        others = (tuple(f"{name}.layers.{i}.{{p}}" for name in names) for names in (copies, aliases))
        yield Rule(f"{theirs}.layers.{i}.{{p}}", f"{ours}.{2 * i}.{{p}}", 0, *others)


def anchor_mlps(theirs: str) -> Iterator[Rule]:
    """The MLPs over anchors in the decoder. Deformable models have no `ref_anchor_head`."""
    for name, ours in {
        "query_scale": "scale.mlp",
        "ref_point_head": "embed",
        "ref_anchor_head": "reference_size",
    }.items():
        yield from mlp(f"{theirs}.{name}", f"decoder.prior.{ours}", 2)


def around_layers(*, projection: str, anchors: str, patterns: str, encoder: str, decoder: str, norm: str):
    """The parts of DAB-DETR with anchor boxes outside its layers, except the box heads. Arguments: their names."""
    yield Rule(f"{projection}.{{p}}", "neck.projection.{p}")
    yield Rule(anchors, ("queries.centre", "queries.size"), axis=1)
    yield Rule(patterns, "queries.patterns")
    yield from mlp(f"{encoder}.query_scale", "encoder.position_scale", 2)
    yield from anchor_mlps(decoder)
    yield Rule(f"{norm}.{{p}}", "decoder.norm.{p}")
    yield Rule("class_embed.{p}", "decoder.class_heads.0.{p}")


def torchvision_resnet(theirs: str, ours: str) -> Iterator[Rule]:
    """torchvision's ResNet under the prefix `theirs` (with its dot) to Detectron2's under `ours`."""
    yield Rule(f"{theirs}conv1.weight", f"{ours}stem.conv1.weight")
    yield Rule(f"{theirs}bn1.{{b}}", f"{ours}stem.conv1.norm.{{b}}")
    for stage in range(1, 5):
        block, res = f"{theirs}layer{stage}.{{i}}", f"{ours}res{stage + 1}.{{i}}"
        yield Rule(f"{block}.conv{{j}}.weight", f"{res}.conv{{j}}.weight")
        yield Rule(f"{block}.bn{{j}}.{{b}}", f"{res}.conv{{j}}.norm.{{b}}")
        yield Rule(f"{block}.downsample.0.weight", f"{res}.shortcut.weight")
        yield Rule(f"{block}.downsample.1.{{b}}", f"{res}.shortcut.norm.{{b}}")


def multi_head_attention(theirs: str, ours: str) -> Iterator[Rule]:
    """torch's MultiheadAttention, whose three projections are one matrix."""
    for kind in ("weight", "bias"):
        projections = tuple(f"{ours}.{name}.{kind}" for name in ("query", "key", "value"))
        yield Rule(f"{theirs}.in_proj_{kind}", projections)
    yield Rule(f"{theirs}.out_proj.{{p}}", f"{ours}.out.{{p}}")


def feed_forward(theirs: str, ours: str, norms: Sequence[int]) -> Iterator[Rule]:
    """The feed-forward network of a layer, and its norms: their numbers, in the order of use."""
    for name in ("linear1", "linear2"):
        yield Rule(f"{theirs}.{name}.{{p}}", f"{ours}.ffn.{name}.{{p}}")
    yield Rule(f"{theirs}.activation.weight", f"{ours}.ffn.activation.weight")
    for i, number in enumerate(norms, 1):
        yield Rule(f"{theirs}.norm{number}.{{p}}", f"{ours}.norm{i}.{{p}}")


def deformable_attention(theirs: str, ours: str) -> Iterator[Rule]:
    """Deformable attention."""
    names = {"sampling_offsets": "offsets", "attention_weights": "weights", "value_proj": "value", "output_proj": "out"}
    for name, projection in names.items():
        yield Rule(f"{theirs}.{name}.{{p}}", f"{ours}.{projection}.{{p}}")


def mmcv_feed_forward(theirs: str, ours: str, norms: Sequence[int]) -> Iterator[Rule]:
    """The feed-forward network of a layer as mmcv and detrex name it, and its norms: our numbers, in the order of
    theirs. They store PReLU's slope twice; converted files may lack the second copy."""
    for name, linear in {"0.0": "linear1", "1": "linear2"}.items():
        yield Rule(f"{theirs}.ffns.0.layers.{name}.{{p}}", f"{ours}.ffn.{linear}.{{p}}")
    yield Rule(
        f"{theirs}.ffns.0.activation.weight",
        f"{ours}.ffn.activation.weight",
        copies=(f"{theirs}.ffns.0.layers.0.1.weight",),
    )
    for i, number in enumerate(norms):
        yield Rule(f"{theirs}.norms.{i}.{{p}}", f"{ours}.norm{number}.{{p}}")


def mmcv_deformable_layers(theirs: str) -> Iterator[Rule]:
    """The layers of a transformer with deformable attention as mmcv and detrex name them, under the prefix `theirs`."""
    encoder, decoder = f"{theirs}.encoder.layers.{{i}}", f"{theirs}.decoder.layers.{{i}}"
    yield from deformable_attention(f"{encoder}.attentions.0", "encoder.layers.{i}.attention")
    yield from mmcv_feed_forward(encoder, "encoder.layers.{i}", norms=(1, 2))
    yield from multi_head_attention(f"{decoder}.attentions.0.attn", "decoder.layers.{i}.self_attention")
    yield from deformable_attention(f"{decoder}.attentions.1", "decoder.layers.{i}.cross_attention")
    yield from mmcv_feed_forward(decoder, "decoder.layers.{i}", norms=(1, 2, 3))


def channel_mapper(num_maps: int, norm: str) -> Iterator[Rule]:
    """The neck of mmdetection and detrex. num_maps: the backbone's maps; the last one makes the further levels."""
    neck = {f"neck.convs.{i}": f"neck.projections.{i}" for i in range(num_maps)}
    neck |= {f"neck.extra_convs.{i}": f"neck.projections.{num_maps + i}" for i in range(8)}
    for theirs, ours in neck.items():
        yield Rule(f"{theirs}.conv.{{p}}", f"{ours}.0.{{p}}")
        yield Rule(f"{theirs}.{norm}.{{p}}", f"{ours}.1.{{p}}")


def deformable_heads(num_layers: int, refined: bool, two_stage: bool) -> Iterator[Rule]:
    """A head for each layer, and one more for the encoder in two stages; otherwise one head under all their keys."""
    decoder = "transformer.decoder."
    for i in range(num_layers + two_stage if refined else 1):
        ours = (
            ["decoder.class_heads.{i}", "decoder.box_heads.{i}"]
            if i < num_layers
            else ["queries.class_head", "queries.box_head"]
        )
        classes, boxes = (name.format(i=i) for name in ours)
        same = range(1, num_layers) if not refined else ()
        copies = [f"{decoder}class_embed.{i}"] if two_stage else [f"class_embed.{j}" for j in same]
        yield Rule(f"class_embed.{i}.{{p}}", f"{classes}.{{p}}", copies=tuple(f"{x}.{{p}}" for x in copies))
        yield from mlp(
            f"bbox_embed.{i}",
            boxes,
            3,
            copies=[f"{decoder}bbox_embed.{i}"] if refined else [f"bbox_embed.{j}" for j in same],
        )


def count_layers(state: Mapping[str, Tensor]) -> int:
    """The number of decoder layers in a state dict of ours."""
    return count_keys(state, "decoder.layers.", ".norm1.bias")


def count_keys(state: Mapping[str, Tensor], prefix: str, suffix: str) -> int:
    """The number of keys with this prefix and suffix."""
    return sum(key.startswith(prefix) and key.endswith(suffix) for key in state)
