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
    return sum(key.startswith("decoder.layers.") and key.endswith(".norm1.bias") for key in state)
