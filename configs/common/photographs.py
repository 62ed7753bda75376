"""The model of the photographs: a member of the shapes' size on EfficientNet-Lite0, a small network for CPUs."""

from detectron2.config import LazyCall as L
from omegaconf import DictConfig

from dab_detr.modeling.backbone import TimmBackbone

from .shapes import shrink

CHANNELS = {"res3": 40, "res4": 112, "res5": 320}


def photographs(model: DictConfig) -> DictConfig:
    """The node of any member, changed in place: `shrink` with 50 queries, on an EfficientNet-Lite0 that does not learn.

    Members on one feature map get the map of stride 16. Pixels are scaled as the network's weights expect.
    """
    maps = ["res4"] if "feature" in model.neck else list(CHANNELS)
    shrink(model)
    model.backbone = L(TimmBackbone)(name="tf_efficientnet_lite0", out_features=maps, frozen=True)
    if "feature" in model.neck:
        model.neck.update(feature="res4", in_channels=CHANNELS["res4"])
    else:
        model.neck.in_channels = CHANNELS
    model.pixel_mean = model.pixel_std = [127.5, 127.5, 127.5]
    model.queries.num_queries = 50
    model.num_classes = 80  # the data decides
    return model
