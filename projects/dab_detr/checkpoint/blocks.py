"""Rules for the blocks that every rename table has: MLPs and torchvision's ResNets."""

from collections.abc import Iterator, Sequence

from .rename import Rule


def mlp(theirs: str, ours: str, layers: int, copies: Sequence[str] = ()) -> Iterator[Rule]:
    """An MLP: their `layers.0, 1, 2` are our 0, 2, 4, for ReLUs stand between them."""
    for i in range(layers):
        same = tuple(f"{copy}.layers.{i}.{{p}}" for copy in copies)
        yield Rule(f"{theirs}.layers.{i}.{{p}}", f"{ours}.{2 * i}.{{p}}", copies=same)


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
    """What follows attention in a layer, and the layer's norms: their numbers, in the order of use."""
    for name in ("linear1", "linear2"):
        yield Rule(f"{theirs}.{name}.{{p}}", f"{ours}.ffn.{name}.{{p}}")
    yield Rule(f"{theirs}.activation.weight", f"{ours}.ffn.activation.weight")
    for i, number in enumerate(norms, 1):
        yield Rule(f"{theirs}.norm{number}.{{p}}", f"{ours}.norm{i}.{{p}}")
