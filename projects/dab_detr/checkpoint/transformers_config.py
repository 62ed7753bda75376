"""The files that transformers needs besides the weights of a DabDetrForObjectDetection."""

import math
from collections.abc import Sequence
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


def detection_config(model: DictConfig, class_names: Sequence[str | None]) -> dict[str, Any]:
    """config.json for the node of a DAB-DETR; class_names by output, None for outputs without a class.

    Raises ValueError, which names the key, for an option that transformers does not have.
    """
    for key, value in FIXED.items():
        found = OmegaConf.select(model, key)
        if found != value:
            raise ValueError(f"transformers' DAB-DETR needs model.{key}={value}, the config has {found}")
    if model.decoder.prior.modulate is False or target(model.decoder.refinement) != "RefinedAnchors":
        raise ValueError("transformers' DAB-DETR needs modulation and refined anchors (model.decoder)")
    position, encoder, queries = model.neck.position, model.encoder, model.queries
    names = ["N/A" if name is None else name for name in class_names]
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
        **{f"{part}_attention_heads": encoder.heads for part in ("encoder", "decoder")},
        **{f"{part}_ffn_dim": encoder.hidden for part in ("encoder", "decoder")},
        "encoder_layers": encoder.num_layers,
        "decoder_layers": model.decoder.layers.num_layers,
        "dropout": encoder.dropout,
        "num_queries": queries.num_queries,
        "num_patterns": queries.num_patterns,
        "random_refpoints_xy": bool(queries.uniform_xy or queries.fixed_xy),
        "keep_query_pos": model.decoder.layers.keep_query_pos,
        "temperature_height": whole_number(position.temperature_y, "model.neck.position.temperature_y"),
        "temperature_width": whole_number(position.temperature_x, "model.neck.position.temperature_x"),
        "sine_position_embedding_scale": 2 * math.pi,
        "initializer_bias_prior_prob": 0.01,
        "id2label": {str(i): name for i, name in enumerate(names)},
        "label2id": {name: i for i, name in enumerate(names)},
        "torch_dtype": "float32",
    }


def target(node: DictConfig) -> str:
    """The name of the class that a node builds, from the class itself or from its path."""
    return getattr(node._target_, "__name__", str(node._target_)).rpartition(".")[2]


def whole_number(temperature: float, key: str) -> int:
    """The temperature as a whole number, which transformers needs. Raises ValueError for another."""
    if temperature != int(temperature):
        raise ValueError(f"transformers' DAB-DETR needs a whole number for {key}, the config has {temperature}")
    return int(temperature)


def image_processor_config(model: DictConfig, short_side: int = 800, max_side: int = 1333) -> dict[str, Any]:
    """preprocessor_config.json: the image processor that transformers pairs with DAB-DETR."""
    return {
        "image_processor_type": "ConditionalDetrImageProcessor",
        "format": "coco_detection",
        "do_resize": True,
        "size": {"shortest_edge": short_side, "longest_edge": max_side},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": [x / 255 for x in model.pixel_mean],
        "image_std": [x / 255 for x in model.pixel_std],
        "do_pad": True,
    }
