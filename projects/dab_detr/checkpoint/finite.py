"""Checks that all numbers of a checkpoint are finite."""

from collections.abc import Iterator, Mapping

from torch import Tensor


def check_finite(content: object, path: str) -> None:
    """Raise FloatingPointError if any tensor of a checkpoint that is about to be saved is not finite."""
    for key, tensor in tensors(content):
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise FloatingPointError(
                f"{path} is not written: {key} has numbers that are infinite or NaN. Earlier checkpoints stay "
                "as they are. Continue from the last one with --resume and a lower optimizer.lr or "
                "optimizer.max_norm"
            )


def tensors(content: object, key: str = "") -> Iterator[tuple[str, Tensor]]:
    """Yield (dotted key, tensor) for all tensors in nested mappings, lists and tuples."""
    if isinstance(content, Tensor):
        yield key, content
    elif isinstance(content, Mapping):
        for name, inner in content.items():
            yield from tensors(inner, f"{key}.{name}".lstrip("."))
    elif isinstance(content, list | tuple):
        for i, inner in enumerate(content):
            yield from tensors(inner, f"{key}.{i}".lstrip("."))
