"""Checks that a model has the settings that foreign weights need, because a wrong setting silently costs AP."""

import logging
import math
from collections.abc import Mapping

from torch import Tensor, nn

from .blocks import count_keys, count_layers
from .formats import Format

logger = logging.getLogger(__name__)

CONVERT = "if yours were trained with other settings, convert them first: tools/convert_checkpoint.py ... --to dab_detr"

# parts of keys that only such backbones have
BACKBONES = {"relative_position_bias_table": "Swin Transformer", "pos_embed": "ViT", ".attn.qkv": "ViT", ".rope": "ViT"}


def check_family(found: Format, weights: Mapping[str, Tensor], model: nn.Module, *, inference: bool) -> None:
    """Raise ValueError if the model's settings do not fit the weights, in one line with the right overrides.

    found: the format of the weights. weights: the state dict under our names.
    inference: whether the model will detect with the weights as they are. If so, another selection gives a warning.

    A part that has no such setting passes.
    """
    check_backbone(found, weights, model)
    check_levels(found, weights, model)
    if wrong := other_settings(found.needs | heads(weights, model), model):
        raise ValueError(f"the weights of {found.name} need {wrong}; {CONVERT}")
    if inference and (wrong := other_settings(found.selection, model)):
        logger.warning("The published AP of %s was measured with %s", found.name, wrong)


def other_settings(needs: Mapping[str, object], model: nn.Module) -> str:
    """The overrides that give the model the settings `needs`, and what it has now; empty if it has them all."""
    have = {key: setting(model, key, value) for key, value in needs.items()}
    wrong = [key for key, value in needs.items() if not same(have[key], value)]
    overrides = " ".join(f"{key}={needs[key]}" for key in wrong)
    return f"{overrides} (now {', '.join(str(have[key]) for key in wrong)})" if wrong else ""


def check_backbone(found: Format, weights: Mapping[str, Tensor], model: nn.Module) -> None:
    """Raise ValueError if the weights have a transformer as backbone, and the model has none of its tensors."""
    keys = [key for key in weights if key.startswith("backbone.")]
    kind = next((kind for part, kind in BACKBONES.items() if any(part in key for key in keys)), None)
    if kind and not set(keys) & model.state_dict().keys():
        own = type(getattr(model, "backbone", model)).__name__
        raise ValueError(
            f"these weights of {found.name} have its authors' own {kind} as backbone, and the model has a {own}. No "
            f"config here builds that {kind} (timm's has no norm after its maps): use weights with a ResNet, or set "
            f"model.backbone to a {kind} with the same parameter names"
        )


def check_levels(found: Format, weights: Mapping[str, Tensor], model: nn.Module) -> None:
    """Raise ValueError if the weights come from a model with another number of levels."""
    levels, have = weights.get("neck.level_embed"), getattr(getattr(model, "neck", None), "num_levels", None)
    if levels is None or have in (None, len(levels)):
        return
    maps = [x.shape[1] for key, x in weights.items() if key.startswith("neck.projections.") and x.shape[2:] == (1, 1)]
    hint = "; configs/dino_r50_4scale_12ep.py has 4 levels, configs/dino_r50_5scale_12ep.py has 5"
    raise ValueError(
        f"the weights of {found.name} need model.neck.num_levels={len(levels)} with maps of {maps} channels (now "
        f"{have}){hint if 'DINO' in found.name else ''}"
    )


def heads(weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, bool]:
    """Whether the decoder layers of the weights share their heads, by config key.

    Empty if the weights or the model have only one layer.
    """
    layers = getattr(getattr(model, "decoder", None), "layers", ())
    if min(len(layers), count_layers(weights)) < 2:
        return {}
    numbers = {
        "class_heads": count_keys(weights, "decoder.class_heads.", ".weight"),
        "box_heads": count_keys(weights, "decoder.box_heads.", ".0.weight"),
    }
    return {f"model.decoder.{name}.shared": number == 1 for name, number in numbers.items() if number}


def setting(model: nn.Module, key: str, default: object) -> object:
    """The value in the model of a config key, or the default if the part has no such setting."""
    part, path = model, key.split(".")[1:]
    for name in path[:-1]:
        part = getattr(part, name, None)
    if path[-1] == "shared":
        return default if part is None else len(part) == 1
    if path[-1].startswith("temperature_"):
        temperatures = getattr(part, "temperature", None)
        return temperatures["xy".index(path[-1][-1])].item() if isinstance(temperatures, Tensor) else default
    return getattr(part, path[-1], default)


def same(have: object, needed: object) -> bool:
    """Whether a setting has the value that the weights need. The tolerance allows for rounding to 16 bits."""
    numbers = isinstance(needed, float) and isinstance(have, int | float)
    return math.isclose(have, needed, rel_tol=0.01) if numbers else have == needed
