"""The model of a yacs config."""

from collections.abc import Mapping

import torch
from detectron2.config import CfgNode, LazyCall, instantiate
from detectron2.modeling import Backbone, build_backbone
from omegaconf import DictConfig, OmegaConf
from torch import nn

from ..modeling.backbone import build_dab_detr_resnet_backbone, resnet
from ..models import MODELS
from ..overrides import apply_overrides
from .keys import MODEL_KEYS, nested, values_of, yacs_defaults


def build_detector(cfg: CfgNode) -> nn.Module:
    """Build the model of a yacs config."""
    return instantiate(model_node(cfg))


def model_node(cfg: CfgNode) -> DictConfig:
    """The node of the model of a yacs config: one of `models.MODELS`, on the backbone that MODEL.BACKBONE names.

    Raises ValueError for a config without our keys, a variant that does not exist, and keys that do not apply to it.
    """
    if "DAB_DETR" not in cfg.MODEL:
        raise ValueError(
            "the config has no key MODEL.DAB_DETR: call dab_detr.config.teach_detectron2() before get_cfg()"
        )
    own, flat = cfg.MODEL.DAB_DETR, dict(values_of(cfg))
    if own.VARIANT not in MODELS:
        raise ValueError(f"MODEL.DAB_DETR.VARIANT must be one of {list(MODELS)}, got {own.VARIANT!r}")
    node = MODELS[own.VARIANT]()
    node.backbone = backbone_node(cfg)
    for key, paths in MODEL_KEYS.items():
        for path in paths if flat[key] is not None else ():
            if OmegaConf.select(node, path) is None:
                raise ValueError(f"{key} does not apply to MODEL.DAB_DETR.VARIANT {own.VARIANT!r}: remove it")
            OmegaConf.update(node, path, flat[key])
    set_channels(node)
    apply_overrides(node, own.OVERRIDES)
    return node


def backbone_node(cfg: CfgNode) -> DictConfig:
    """The node of the backbone: our ResNet, or any other by its name and the keys of MODEL that were set."""
    given = cfg.MODEL
    if build_dab_detr_resnet_backbone.__name__ == given.BACKBONE.NAME:
        return LazyCall(resnet)(
            depth=given.RESNETS.DEPTH,
            out_features=list(given.RESNETS.OUT_FEATURES),
            dilated=given.RESNETS.RES5_DILATION == 2,
            freeze_at=given.BACKBONE.FREEZE_AT,
            norm=given.RESNETS.NORM,
            width=given.RESNETS.STEM_OUT_CHANNELS,
        )
    defaults = dict(values_of(yacs_defaults()))
    changed = {key: value for key, value in values_of(cfg) if key.startswith("MODEL.") and value != defaults.get(key)}
    return LazyCall(yacs_backbone)(settings={k: v for k, v in changed.items() if not k.startswith("MODEL.DAB_DETR")})


def yacs_backbone(*, settings: Mapping) -> Backbone:
    """Build any backbone in Detectron2's registry.

    settings: keys of a yacs config with their values, {"MODEL.BACKBONE.NAME": ..., "MODEL.RESNETS.DEPTH": ...}.
    """
    cfg = yacs_defaults()
    cfg.set_new_allowed(True)
    plain = OmegaConf.to_container(settings) if isinstance(settings, DictConfig) else settings
    cfg.merge_from_other_cfg(CfgNode(nested(plain)))
    return build_backbone(cfg)


def set_channels(model: DictConfig) -> None:
    """Set the neck's numbers of channels to those of the feature maps. The model itself reports a missing map."""
    with torch.device("meta"):  # only shapes are needed
        shapes = instantiate(model.backbone).output_shape()
    neck = model.neck
    if "feature" in neck:
        if neck.feature in shapes:
            neck.in_channels = shapes[neck.feature].channels
    else:
        neck.in_channels.update({name: shapes[name].channels for name in neck.in_channels if name in shapes})
