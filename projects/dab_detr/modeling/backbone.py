"""ResNets from Detectron2's parts, with the dilation of the released DC5 weights, and networks of timm."""

from collections.abc import Sequence

import torch
from detectron2.modeling import Backbone
from detectron2.modeling.backbone.resnet import ResNet
from omegaconf import OmegaConf
from torch import Tensor, channels_last

from .residual import FoldedBasicBlock, FoldedBottleneckBlock, FoldedStem

# With fewer channels than a vector register holds, torch's gradient of a strided 1 x 1 convolution in channels-last
# layout writes past its memory on CPU: below 8 channels with AVX2, below 16 with AVX-512.
NARROWEST_CHANNELS_LAST = 16
BLOCKS = {
    18: (2, 2, 2, 2),
    34: (3, 4, 6, 3),
    50: (3, 4, 6, 3),
    101: (3, 4, 23, 3),
    152: (3, 8, 36, 3),
}


def resnet(
    *,
    depth: int = 50,
    out_features: Sequence[str] = ("res5",),
    dilated: bool = False,
    freeze_at: int = 2,
    norm: str = "FrozenBN",
    width: int = 64,
) -> ResNet:
    """Detectron2's ResNet in torchvision's form (stride in the 3 x 3 convolution).

    depth: 18, 34 (basic blocks), 50, 101 or 152 (bottlenecks).
    out_features: any of "stem", "res2" ... "res5" (strides 4, 4, 8, 16, 32); stages beyond the last are not built.
    dilated: DC5: res5 keeps the stride of res4, and its blocks dilate by 1, 2, 2. Detectron2's RES5_DILATION would
        also dilate the first block, unlike the training of the released weights.
    freeze_at: 0 trains everything, 1 freezes the stem, 2 also res2 (as the original), up to 5.
    norm: "FrozenBN", or "BN" to train without ImageNet weights.
    width: channels of the stem; 64 for the published networks.
    """
    if depth not in BLOCKS:
        raise ValueError(f"model.backbone.depth must be one of {sorted(BLOCKS)}, got {depth}")
    bottleneck = depth >= 50
    stages, channels = [], width
    for i, num_blocks in enumerate(BLOCKS[depth]):
        dilate = dilated and i == 3
        inner = width * 2**i
        specific = {}
        if bottleneck:
            dilation = [1] + [2 if dilate else 1] * (num_blocks - 1)
            specific = {
                "bottleneck_channels": inner,
                "stride_in_1x1": False,
                "dilation_per_block": dilation,
            }
        elif dilate:
            raise ValueError(f"model.backbone.dilated needs bottleneck blocks (depth 50 or more), got depth {depth}")
        out_channels = inner * 4 if bottleneck else inner
        stages.append(
            ResNet.make_stage(
                FoldedBottleneckBlock if bottleneck else FoldedBasicBlock,
                num_blocks,
                stride_per_block=[1 if i == 0 or dilate else 2] + [1] * (num_blocks - 1),
                in_channels=channels,
                out_channels=out_channels,
                norm=norm,
                **specific,
            )
        )
        channels = out_channels
    stem = FoldedStem(in_channels=3, out_channels=width, norm=norm)
    network = ResNet(stem, stages, out_features=list(out_features), freeze_at=freeze_at)
    if width < NARROWEST_CHANNELS_LAST:
        return network
    return network.to(memory_format=channels_last)  # convolutions are faster in this layout, and keep it in their maps


def build_dab_detr_resnet_backbone(cfg, input_shape) -> ResNet:
    """`resnet` from MODEL.RESNETS and MODEL.BACKBONE.FREEZE_AT of a yacs config; RES5_DILATION 2 is DC5."""
    return resnet(
        depth=cfg.MODEL.RESNETS.DEPTH,
        out_features=cfg.MODEL.RESNETS.OUT_FEATURES,
        dilated=cfg.MODEL.RESNETS.RES5_DILATION == 2,
        freeze_at=cfg.MODEL.BACKBONE.FREEZE_AT,
        norm=cfg.MODEL.RESNETS.NORM,
        width=cfg.MODEL.RESNETS.STEM_OUT_CHANNELS,
    )


# timm's options for images of any size: for networks with one stride (ViT), with windows (Swin), and for all others
ANY_SIZE = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})


class TimmBackbone(Backbone):
    """A backbone of the `timm` library with feature maps, behind Detectron2's interface.

    name: timm's name for the network, for example "convnext_tiny", "swin_tiny_patch4_window7_224" or
    "vit_small_patch16_dinov3".
    out_features: named by stride, as in Detectron2's ResNets: "res2" is stride 4, "res3" 8, "res4" 16, "res5" 32. A
        plain vision transformer has one stride; `SimplePyramid` makes the others from its last map.
    pretrained: fetch timm's weights.
    frozen: the network keeps its weights and the statistics of its batch normalization, which makes a step cheaper.

    Networks that cut the image into patches need sizes that the patches divide: `size_divisibility` tells the detector
    to pad to them. Inside such a network, attention sees the padding of smaller images in a batch.

    Raises ValueError for strides that the network does not have.
    """

    def __init__(
        self,
        *,
        name: str,
        out_features: Sequence[str] = ("res5",),
        pretrained: bool = False,
        frozen: bool = False,
        **options,
    ):
        super().__init__()
        import timm  # an optional dependency

        info, any_size = feature_info(name)
        options = any_size | OmegaConf.to_container(OmegaConf.create(options))  # timm takes no OmegaConf lists
        strides = {f"res{stride.bit_length() - 1}": i for i, stride in enumerate(info.reduction())}
        missing = sorted(set(out_features) - set(strides))
        if missing:
            raise ValueError(f"timm's {name} has {sorted(strides)}, not {missing}: set model.backbone.out_features")
        out_features = sorted(out_features, key=strides.get)  # timm returns them in this order
        indices = [strides[feature] for feature in out_features]
        self.body = timm.create_model(name, features_only=True, out_indices=indices, pretrained=pretrained, **options)
        if frozen:
            self.body = timm.layers.freeze_batch_norm_2d(self.body).requires_grad_(False)
        self._size_divisibility = min(info.reduction()) if any_size else 0
        self.channels_last = getattr(self.body, "output_fmt", "NCHW") == "NHWC"
        self._out_features = out_features
        self._out_feature_channels = dict(zip(out_features, self.body.feature_info.channels(), strict=True))
        self._out_feature_strides = dict(zip(out_features, self.body.feature_info.reduction(), strict=True))

    @property
    def size_divisibility(self) -> int:
        return self._size_divisibility

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Images (B, 3, H, W) to feature maps (B, C, h, w) by name."""
        maps = self.body(images)
        maps = [x.permute(0, 3, 1, 2) for x in maps] if self.channels_last else maps
        return dict(zip(self._out_features, maps, strict=True))


def feature_info(name: str):
    """timm's description of a network's feature maps, and the options with which it takes images of any size."""
    import timm

    for options in ANY_SIZE:
        try:
            with torch.device("meta"):  # only shapes are needed
                return timm.create_model(name, features_only=True, **options).feature_info, options
        except TypeError as error:
            if options is ANY_SIZE[-1] or "unexpected keyword argument" not in str(error):
                raise
