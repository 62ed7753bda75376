"""torch.compile for a detector."""

from torch import nn

PARTS = ("backbone", "neck", "encoder", "decoder")


def compile_parts(model: nn.Module, **options) -> nn.Module:
    """Compile the detector in place: each part becomes one graph for any image size. Its state dict stays.

    The code between the parts handles lists of pictures and objects, and is cheap. `options` are torch.compile's.
    """
    for name in PARTS:
        getattr(model, name).compile(fullgraph=True, dynamic=True, **options)
    return model
