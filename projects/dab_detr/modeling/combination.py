"""Checks that the parts of a detector fit each other, when it is built and not after a night."""

from torch import nn


def check_combination(
    *,
    backbone: nn.Module,
    neck: nn.Module,
    encoder: nn.Module,
    queries: nn.Module,
    decoder: nn.Module,
    classification: object,
    selection: object,
) -> None:
    """Raises ValueError, with the config keys to change, for parts that cannot work together."""
    check_features(backbone, neck)
    check_levels(neck, encoder, decoder)
    check_positions(neck, encoder, decoder)
    check_needs(neck, queries, decoder)
    check_classes(decoder, classification, selection)


def check_features(backbone: nn.Module, neck: nn.Module) -> None:
    """The neck takes what the backbone gives."""
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


def check_levels(neck: nn.Module, encoder: nn.Module, decoder: nn.Module) -> None:
    """All attend to as many levels as the neck gives."""
    for key, part in (("model.encoder", encoder), ("model.decoder", decoder)):
        for module in part.modules():
            levels = getattr(module, "levels", neck.num_levels)
            if levels != neck.num_levels:
                raise ValueError(
                    f"the {type(module).__name__} of {key} attends to {levels} levels, model.neck gives "
                    f"{neck.num_levels} ({type(neck).__name__}): set model.neck.num_levels, or use the neck that fits"
                )


def check_positions(neck: nn.Module, encoder: nn.Module, decoder: nn.Module) -> None:
    """The neck's position map has the halves y and x exactly where attention takes them apart."""
    splits_axes = getattr(neck.position, "splits_axes", False)
    for key, part in (("model.encoder", encoder), ("model.decoder.layers", decoder.layers)):
        for module in part.modules():
            if getattr(module, "splits_axes", splits_axes) != splits_axes:
                raise ValueError(
                    f"the {type(module).__name__} of {key} does not go with the {type(neck.position).__name__} of "
                    "model.neck.position: row-column attention and RowColumnMap need each other"
                )


def check_needs(neck: nn.Module, queries: nn.Module, decoder: nn.Module) -> None:
    """Attention gets from the prior, the prior from the queries, and the queries from the memory, what it needs."""
    if getattr(queries, "memory_dim", neck.dim) != neck.dim:
        raise ValueError(
            f"the {type(queries).__name__} of model.queries are cells of the memory: model.queries.dim must be "
            f"model.neck.dim={neck.dim}, got {queries.memory_dim}"
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


def check_classes(decoder: nn.Module, classification: object, selection: object) -> None:
    """Heads, loss and selection agree on whether the last class is "no object"."""
    parts = {"model.decoder.class_heads": decoder.class_heads[0], "model.criterion.classification": classification}
    parts["model.selection"] = selection
    kinds = {key: getattr(part, "no_object_class", None) for key, part in parts.items()}
    if {True, False} <= set(kinds.values()):
        told = ", ".join(f"{key} ({type(parts[key]).__name__}) {'has' if x else 'has not'}" for key, x in kinds.items())
        raise ValueError(f'the last class is "no object" for all parts or for none: {told}')
