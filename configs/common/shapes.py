"""The model of the generated shapes: any member of the family, small enough to train on two CPU cores."""

from omegaconf import DictConfig

WIDTHS = {"res3": 64, "res4": 128, "res5": 256}  # of a ResNet-18 half as wide


def shrink(model: DictConfig) -> DictConfig:
    """The node of any member, changed in place: 20 queries of 128 channels, 1 + 3 layers, 3 classes, a thin backbone.

    Members on one feature map get the one of stride 8, 12 x 12 cells, for objects are 10 to 56 pixels wide.
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
    return model
