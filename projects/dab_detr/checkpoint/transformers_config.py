"""The files that transformers has besides the weights of a DabDetrForObjectDetection, written and read."""

import logging
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf

# keys below `model` with the only values that transformers' port can have
FIXED = {
    "backbone.width": 64,
    "neck.feature": "res5",
    "queries.anchor_dim": 4,
    "decoder.prior.query_scale": "content",
    "decoder.prior.temperature": 10000.0,
    "decoder.box_heads.shared": True,
    "input_format": "RGB",
}

logger = logging.getLogger(__name__)

BILINEAR = 2  # Pillow's number, for both
UNLIMITED = 1_000_000  # pixels of the longer side


def detection_config(model: DictConfig, class_names: Sequence[str | None]) -> dict[str, Any]:
    """config.json for the node of a DAB-DETR; class_names by output, None for outputs without a class.

    Raises ValueError, which names the key, for an option that transformers does not have.
    """
    check_options(model)
    position, encoder, queries, criterion = model.neck.position, model.encoder, model.queries, model.criterion
    layers = model.decoder.layers
    return {
        "architectures": ["DabDetrForObjectDetection"],
        "model_type": "dab-detr",
        "backbone_config": {
            "model_type": "timm_backbone",
            "backbone": f"resnet{model.backbone.depth}",
            "features_only": True,
            "use_pretrained_backbone": False,
            "out_indices": [4],
            "output_stride": 16 if model.backbone.dilated else None,
        },
        "dilation": model.backbone.dilated,
        "hidden_size": model.neck.dim,
        "activation_function": target(encoder.activation).lower(),
        **layer_sizes(encoder, "encoder"),
        **layer_sizes(layers, "decoder"),
        "dropout": encoder.dropout,
        "num_queries": queries.num_queries,
        "num_patterns": queries.num_patterns,
        "random_refpoints_xy": bool(queries.uniform_xy or queries.fixed_xy),
        "keep_query_pos": layers.keep_query_pos,
        "temperature_height": whole_number(position.temperature_y, "model.neck.position.temperature_y"),
        "temperature_width": whole_number(position.temperature_x, "model.neck.position.temperature_x"),
        "sine_position_embedding_scale": 2 * math.pi,
        "initializer_bias_prior_prob": 0.01,
        **loss_weights(criterion),
        "focal_alpha": criterion.classification.get("alpha", 0.25),
        "auxiliary_loss": criterion.auxiliary,
        **labels(class_names),
        "torch_dtype": "float32",
    }


def check_options(model: DictConfig) -> None:
    """Raise ValueError, which names the key, for an option that transformers does not have."""
    for key, value in FIXED.items():
        found = OmegaConf.select(model, key)
        if found != value:
            raise ValueError(f"transformers' DAB-DETR needs model.{key}={value}, the config has {found}")
    if model.decoder.prior.modulate is False or target(model.decoder.refinement) != "RefinedAnchors":
        raise ValueError("transformers' DAB-DETR needs modulation and refined anchors (model.decoder)")
    encoder, layers = model.encoder, model.decoder.layers
    if (layers.dropout, layers.activation) != (encoder.dropout, encoder.activation):
        raise ValueError(
            "transformers' DAB-DETR needs the same dropout and activation in model.encoder and model.decoder"
        )


def labels(class_names: Sequence[str | None]) -> dict[str, dict]:
    """The entries for the names of the outputs."""
    names = ["N/A" if name is None else name for name in class_names]
    return {
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
    }


def layer_sizes(layers: DictConfig, name: str) -> dict[str, int]:
    """The entries for the layers of the encoder or decoder."""
    keys = {"num_layers": f"{name}_layers", "heads": f"{name}_attention_heads", "hidden": f"{name}_ffn_dim"}
    return {theirs: layers[ours] for ours, theirs in keys.items()}


def loss_weights(criterion: DictConfig) -> dict[str, int]:
    """The weights of losses and costs as whole numbers, which transformers needs; others are left out with a warning.

    Only further training reads them.
    """
    matcher = criterion.matcher
    weights = {
        "class_cost": matcher.cost_class,
        "bbox_cost": matcher.cost_bbox,
        "giou_cost": matcher.cost_giou,
        "cls_loss_coefficient": criterion.weight_class,
        "bbox_loss_coefficient": criterion.weight_bbox,
        "giou_loss_coefficient": criterion.weight_giou,
    }
    for name in [name for name, value in weights.items() if value != int(value)]:
        logger.warning("config.json has no %s: transformers takes whole numbers, and it is %s", name, weights.pop(name))
    return {name: int(value) for name, value in weights.items()}


def target(node: DictConfig) -> str:
    """The name of the class that a node builds, from the class itself or from its path."""
    return getattr(node._target_, "__name__", str(node._target_)).rpartition(".")[2]


def whole_number(temperature: float, key: str) -> int:
    """The temperature as a whole number, which transformers needs. Raises ValueError if it is not whole."""
    if temperature != int(temperature):
        raise ValueError(f"transformers' DAB-DETR needs a whole number for {key}, the config has {temperature}")
    return int(temperature)


def image_processor_config(model: DictConfig, augmentations: Sequence[DictConfig]) -> dict[str, Any]:
    """preprocessor_config.json: the image processor that transformers pairs with DAB-DETR.

    augmentations: nodes of the augmentations at test time.

    Raises ValueError for augmentations that transformers does not have.
    """
    return {
        "image_processor_type": "ConditionalDetrImageProcessor",
        "format": "coco_detection",
        **resizing(augmentations),
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [x / 255 for x in model.pixel_mean],
        "image_std": [x / 255 for x in model.pixel_std],
        "do_pad": True,
    }


def resizing(augmentations: Sequence[DictConfig]) -> dict[str, Any]:
    """The entries of an image processor that resize as Detectron2's augmentations do."""
    if not augmentations:
        return {"do_resize": False}
    names = [target(x) for x in augmentations]
    if names == ["Resize"]:
        height, width = augmentations[0].shape
        return {"do_resize": True, "size": {"height": height, "width": width}, "resample": BILINEAR}
    sides = augmentations[0].get("short_edge_length") if names == ["ResizeShortestEdge"] else None
    sides = [sides] if isinstance(sides, int) else sides
    if not sides or len(set(sides)) != 1:
        raise ValueError(
            "transformers' image processor resizes to one size: dataloader.test.mapper.augmentations must be one "
            f"ResizeShortestEdge with one length, or none; got {', '.join(names)}"
        )
    longest = augmentations[0].get("max_size", UNLIMITED)
    return {
        "do_resize": True,
        "size": {"shortest_edge": sides[0], "longest_edge": min(longest, UNLIMITED)},
        "resample": BILINEAR,
    }


# keys of config.json with their defaults in transformers, and the keys below `model` that they set
SAME = {
    "hidden_size": (256, "neck.dim"),
    "encoder_attention_heads": (8, "encoder.heads"),
    "decoder_attention_heads": (8, "decoder.layers.heads"),
    "encoder_ffn_dim": (2048, "encoder.hidden"),
    "decoder_ffn_dim": (2048, "decoder.layers.hidden"),
    "encoder_layers": (6, "encoder.num_layers"),
    "decoder_layers": (6, "decoder.layers.num_layers"),
    "dropout": (0.1, "encoder.dropout"),
    "num_queries": (300, "queries.num_queries"),
    "num_patterns": (0, "queries.num_patterns"),
    "keep_query_pos": (False, "decoder.layers.keep_query_pos"),
    "temperature_height": (20, "neck.position.temperature_y"),
    "temperature_width": (20, "neck.position.temperature_x"),
}
ACTIVATIONS = {"prelu": "PReLU", "relu": "ReLU", "gelu": "GELU"}
THEIR_EPS = 1e-5  # of the inverse sigmoid


def model_overrides(config: Mapping) -> list[str]:
    """Overrides that make configs/dab_detr_r50_50ep.py the model of a config.json; `num_classes` is not among them.

    Raises ValueError, which names the key, for a model that this project does not have.
    """
    if config.get("model_type") != "dab-detr":
        raise ValueError(f"config.json has model_type {config.get('model_type')!r}; only dab-detr can be built")
    if config.get("normalize_before"):
        raise ValueError("config.json has normalize_before; this project's DAB-DETR normalizes after")
    name = config.get("activation_function", "prelu")
    if name not in ACTIVATIONS:
        raise ValueError(f"config.json has activation_function {name!r}, not one of {', '.join(ACTIVATIONS)}")
    depth, dilated = backbone_of(config)
    values = {key: config.get(theirs, default) for theirs, (default, key) in SAME.items()} | {
        "backbone.depth": depth,
        "backbone.dilated": dilated,
        "neck.in_channels": 512 if depth < 50 else 2048,
        "encoder.activation._target_": f"torch.nn.{ACTIVATIONS[name]}",
        "decoder.eps": THEIR_EPS,
    }
    return [f"model.{key}={value}" for key, value in values.items()]


def backbone_of(config: Mapping) -> tuple[int, bool]:
    """The depth of the ResNet in a config.json, and whether its last stage is dilated. Raises ValueError for others."""
    nested = config.get("backbone_config") or {}
    name = nested.get("backbone") or config.get("backbone") or "resnet50"
    found = re.fullmatch(r"resnet(18|34|50|101|152)(\..*)?", str(name))
    if not found or nested.get("model_type", "timm_backbone") != "timm_backbone":
        raise ValueError(
            f"config.json has the backbone {nested.get('model_type', '')} {name}, which is not a ResNet of timm"
        )
    return int(found[1]), bool(config.get("dilation") or nested.get("output_stride") == 16)


def processor_overrides(config: Mapping) -> list[str]:
    """Overrides for the resizing and the pixel statistics of a preprocessor_config.json.

    Raises ValueError for resizing that this project does not have.
    """
    test = "dataloader.test.mapper.augmentations"
    found = [
        f"model.{key}={[255 * x for x in config[theirs]]}".replace(" ", "")
        for theirs, key in {"image_mean": "pixel_mean", "image_std": "pixel_std"}.items()
        if theirs in config
    ]
    if not config.get("do_resize", True):
        return [*found, f"{test}=[]"]
    size = config.get("size", {})
    if "shortest_edge" not in size:
        raise ValueError(f"preprocessor_config.json has the size {size}; only shortest_edge and longest_edge are known")
    longest = size.get("longest_edge", UNLIMITED)
    return [*found, f"{test}.0.short_edge_length={size['shortest_edge']}", f"{test}.0.max_size={longest}"]
