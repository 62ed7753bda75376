"""Rules for the blocks that every rename table has: MLPs and torchvision's ResNets."""

from collections.abc import Iterator

from .rename import Rule


def mlp(theirs: str, ours: str, layers: int, copy: str | None = None) -> Iterator[Rule]:
    """An MLP: their `layers.0, 1, 2` are our 0, 2, 4, for ReLUs stand between them."""
    for i in range(layers):
        copies = (f"{copy}.layers.{i}.{{p}}",) if copy else ()
        yield Rule(f"{theirs}.layers.{i}.{{p}}", f"{ours}.{2 * i}.{{p}}", copies=copies)


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
