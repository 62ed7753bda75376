"""Checks that the parts of a detector fit each other, when it is built and not after a night."""

from torch import nn


def check_combination(
    backbone: nn.Module, neck: nn.Module, encoder: nn.Module, queries: nn.Module, decoder: nn.Module
) -> None:
    """Raises ValueError, with the config keys to change, for parts that cannot work together."""
    shapes = backbone.output_shape()
    for feature, channels in neck.in_channels.items():
        if feature not in shapes:
            raise ValueError(
                f"model.neck takes {feature!r}, model.backbone gives {sorted(shapes)}: "
                f"set model.backbone.out_features or the feature of model.neck"
            )
        if shapes[feature].channels != channels:
            raise ValueError(
                f"{feature!r} of model.backbone has {shapes[feature].channels} channels, "
                f"model.neck.in_channels expects {channels}"
            )
    for key, part in (("model.encoder", encoder), ("model.decoder", decoder)):
        for module in part.modules():
            levels = getattr(module, "levels", neck.num_levels)
            if levels != neck.num_levels:
                raise ValueError(
                    f"the {type(module).__name__} of {key} attends to {levels} levels, model.neck gives "
                    f"{neck.num_levels} ({type(neck).__name__}): set model.neck.num_levels, or use the neck that fits"
                )
    prior = type(decoder.prior).__name__
    needs = {need: type(part).__name__ for part in decoder.layers.modules() for need in getattr(part, "needs", ())}
    for need, name in needs.items():
        if need not in decoder.prior.gives:
            raise ValueError(
                f"the {name} of model.decoder.layers needs {need}, model.decoder.prior ({prior}) gives "
                f"{' and '.join(decoder.prior.gives)}: change one of the two"
            )
    for need in (*decoder.prior.needs, *({"anchors"} & set(needs))):
        if need not in queries.gives:
            raise ValueError(
                f"model.decoder.prior ({prior}) needs queries with {need}, model.queries "
                f"({type(queries).__name__}) gives {' and '.join(queries.gives)}: change one of the two"
            )
