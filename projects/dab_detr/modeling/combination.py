"""Checks, at construction, that the parts of a detector fit together."""

from inspect import signature

from torch import nn

from .part import ANCHORS, LEARNED, PAGE, declared, required


def check_combination(
    *,
    backbone: nn.Module,
    neck: nn.Module,
    encoder: nn.Module,
    queries: nn.Module,
    denoising: nn.Module,
    decoder: nn.Module,
    criterion: object,
    selection: object,
    collaboration: nn.Module | None,
) -> None:
    """Raise ValueError for parts that cannot work together. The message names the config keys to change. For a wrong
    declaration of a part (see `part.Part`), it also names the class and the attribute."""
    check_features(backbone, neck)
    check_levels(neck, encoder, decoder)
    check_positions(neck, encoder, decoder)
    check_needs(neck, queries, decoder)
    check_anchors(queries, denoising, decoder)
    check_classes(decoder, criterion.classification, selection)
    check_proposals(queries, criterion)
    if collaboration is not None:
        check_collaboration(backbone, neck, decoder, collaboration)


def check_features(backbone: nn.Module, neck: nn.Module) -> None:
    """Check that the backbone has the feature maps that the neck takes, with the channels that it expects."""
    shapes = required(backbone, "output_shape", "model.backbone")()
    for feature, channels in required(neck, "in_channels", "model.neck").items():
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
    """Check that attention and neck have the same number of levels."""
    num_levels = required(neck, "num_levels", "model.neck")
    for key, part in (("model.encoder", encoder), ("model.decoder", decoder)):
        for module in part.modules():
            if declared(module, "levels") not in (None, num_levels):
                raise ValueError(
                    f"the {type(module).__name__} of {key} attends to {module.levels} levels, model.neck gives "
                    f"{num_levels} ({type(neck).__name__}): set model.neck.num_levels, or use the neck that fits"
                )


def check_positions(neck: nn.Module, encoder: nn.Module, decoder: nn.Module) -> None:
    """Check that the neck's position map has separate halves for y and x if, and only if, attention splits them."""
    position = required(neck, "position", "model.neck")
    split = bool(declared(position, "splits_axes"))
    layers = required(decoder, "layers", "model.decoder")
    for key, part in (("model.encoder", encoder), ("model.decoder.layers", layers)):
        for module in part.modules():
            if declared(module, "splits_axes") not in (None, split):
                raise ValueError(
                    f"the {type(module).__name__} of {key} (splits_axes={module.splits_axes}) does not go with the "
                    f"{type(position).__name__} of model.neck.position (splits_axes={split}): row-column attention "
                    f"and RowColumnMap need each other"
                )


def check_needs(neck: nn.Module, queries: nn.Module, decoder: nn.Module) -> None:
    """Check that the prior gives what attention needs, the queries what the prior needs, the memory what queries
    need."""
    dim, memory_dim = required(neck, "dim", "model.neck"), declared(queries, "memory_dim")
    if memory_dim not in (None, dim):
        raise ValueError(
            f"the {type(queries).__name__} of model.queries are cells of the memory: model.queries.dim must be "
            f"model.neck.dim={dim}, got {memory_dim}"
        )
    prior = required(decoder, "prior", "model.decoder")
    attention = {need: module for module in decoder.layers.modules() for need in declared(module, "needs")}
    for need, module in attention.items():
        check_given(
            f"the {type(module).__name__} of model.decoder.layers needs {need}", need, "model.decoder.prior", prior
        )
    for need in (*declared(prior, "needs"), *({ANCHORS} & set(attention))):
        asking = f"model.decoder.prior ({type(prior).__name__}) needs queries with {need}"
        check_given(asking, need, "model.queries", queries)


def check_given(asking: str, need: str, key: str, part: nn.Module) -> None:
    """Raise ValueError if the part at the config `key` does not give `need`. The message begins with `asking`."""
    given, name = declared(part, "gives"), type(part).__name__
    if need not in given:
        raise ValueError(
            f"{asking}, {key} ({name}) gives {' and '.join(given) or 'nothing'}: change one of the two, or add "
            f"{need!r} to {name}.gives if it has them ({PAGE})"
        )


def check_anchors(queries: nn.Module, denoising: nn.Module, decoder: nn.Module) -> None:
    """Check that the prior reads only columns that the queries' anchors have, and that denoising makes the same
    columns."""
    columns = declared(queries, "anchor_dim")
    if columns is None:
        return
    prior, noised = declared(decoder.prior, "anchor_dim"), declared(denoising, "anchor_dim")
    for key, part, fits in (
        ("model.decoder.prior", decoder.prior, prior is None or prior <= columns),
        ("model.denoising", denoising, noised in (None, columns)),
    ):
        if not fits:
            settable = "anchor_dim" in signature(type(part)).parameters
            way_out = f"set {key}.anchor_dim={columns}" if settable else f"use other queries or another {key}"
            raise ValueError(
                f"{key}.anchor_dim is {part.anchor_dim} ({type(part).__name__}), the anchors of model.queries have "
                f"{columns} columns ({type(queries).__name__}.anchor_dim): {way_out}"
            )


def check_classes(decoder: nn.Module, classification: object, selection: object) -> None:
    """Check that heads, loss and selection agree on whether the last class is "no object"."""
    heads = required(decoder, "class_heads", "model.decoder")
    parts = {"model.decoder.class_heads": heads[0], "model.criterion.classification": classification}
    parts["model.selection"] = selection
    kinds = {key: declared(part, "no_object_class") for key, part in parts.items()}
    if {True, False} <= set(kinds.values()):
        found = ", ".join(
            f"{key} ({type(parts[key]).__name__}) has {'one' if kind else 'none'}"
            for key, kind in kinds.items()
            if kind is not None
        )
        raise ValueError(f'class heads, loss and selection must agree on a "no object" class: {found}')


def check_proposals(queries: nn.Module, criterion: object) -> None:
    """Check that proposals are ranked by what they learn: by class 0 if they learn only that, otherwise by the best
    class."""
    ranked, learned = declared(queries, "class_agnostic"), declared(criterion, "class_agnostic")
    if None not in (ranked, learned) and ranked != learned:
        raise ValueError(
            f"model.queries.class_agnostic={ranked} ranks proposals by {'class 0' if ranked else 'their best class'}, "
            f"model.criterion.class_agnostic={learned} teaches them {'class 0 alone' if learned else 'all classes'}: "
            f"set model.queries.class_agnostic={learned} or model.criterion.class_agnostic={ranked}"
        )


def check_collaboration(backbone: nn.Module, neck: nn.Module, decoder: nn.Module, collaboration: nn.Module) -> None:
    """Check the auxiliary heads: strides and levels are the memory's, and their queries have what the decoder needs."""
    first = next(iter(neck.in_channels))
    stride = backbone.output_shape()[first].stride
    if collaboration.stride != stride:
        raise ValueError(
            f"model.collaboration.stride={collaboration.stride}, but {first!r} of model.backbone has stride {stride}"
        )
    maps = neck.num_levels + len(collaboration.pyramid.finer) + len(collaboration.pyramid.coarser)
    if any(head.num_maps != maps for head in collaboration.heads.values()):
        raise ValueError(f"model.collaboration.num_levels must be that of model.neck, {neck.num_levels}")
    learned = LEARNED in declared(decoder.prior, "needs")
    if collaboration.learned_positions != learned:
        raise ValueError(
            f"model.decoder.prior ({type(decoder.prior).__name__}) {'needs' if learned else 'has no use for'} "
            f"learned positions: set model.collaboration.learned_positions={learned}"
        )
