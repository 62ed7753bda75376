"""The model of the generated shapes: any member of the family, small enough to train on two CPU cores."""

from omegaconf import DictConfig

WIDTHS = {"res3": 64, "res4": 128, "res5": 256}  # the channels of a ResNet-18 half as wide


def shrink(model: DictConfig) -> DictConfig:
    """The node of any member, changed in place: 20 queries of 128 channels, 1 + 3 layers, 3 classes, a thin backbone.

    Members on one feature map get the map of stride 8 with 12 x 12 cells, because objects are 10 to 56 pixels wide.
    """
    if len(model.backbone.out_features) == 1:
        model.backbone.out_features = ["res3"]
    widths = {name: WIDTHS[name] for name in model.backbone.out_features}
    if "feature" in model.neck:
        model.neck.update(feature="res3", in_channels=widths["res3"])
    else:
        model.neck.in_channels = widths
    model.backbone.update(width=32, freeze_at=0, norm="BN")
    model.neck.dim = 128
    model.encoder.update(num_layers=1, heads=4, hidden=256)
    model.decoder.layers.num_layers = 3
    model.queries.num_queries = 20
    model.num_classes = 3
    shrink_heads(model.collaboration)
    return model


def shrink_heads(collaboration: DictConfig) -> None:
    """Auxiliary heads for objects of 10 to 56 pixels, changed in place. One map of stride 8 gets a finer one."""
    if collaboration.finer:
        collaboration.update(finer=1, coarser=2)
    collaboration.stride = 8
    collaboration.atss.anchor_size = 4.0
    collaboration.rcnn.update(
        hidden=256, anchor_size=2.0, num_anchors=128, num_regions=64, proposals=[400, 100], region_size=56
    )
