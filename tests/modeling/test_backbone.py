"""The ResNets against torchvision's, and what is frozen, built and refused; backbones of timm."""

import pytest
import timm
import torch
import torchvision
from detectron2.config import LazyCall, get_cfg, instantiate
from detectron2.layers import FrozenBatchNorm2d
from detectron2.modeling import build_backbone

from dab_detr.checkpoint.blocks import torchvision_resnet
from dab_detr.checkpoint.rename import RenameTable
from dab_detr.modeling.backbone import TimmBackbone, build_dab_detr_resnet_backbone, resnet
from dab_detr.models import deformable_detr
from samples import random_input, train, worst
from tiny import shrink


@pytest.mark.parametrize("depth, dilated", [(18, False), (50, False), (50, True)])
def test_equals_torchvisions_resnet(depth, dilated):
    """All four stages, with statistics of batch norm that differ; dilated as the released DC5 weights are."""
    options = {"replace_stride_with_dilation": [False, False, True]} if dilated else {}
    theirs = getattr(torchvision.models, f"resnet{depth}")(weights=None, **options).eval()
    for name, tensor in theirs.state_dict().items():
        if "running" in name:  # statistics that matter, but leave something alive after 16 blocks
            tensor.uniform_(0.5, 1.5) if "var" in name else tensor.normal_(std=0.1)
    ours = resnet(depth=depth, dilated=dilated, out_features=["res2", "res3", "res4", "res5"]).eval()
    state, unknown = RenameTable(torchvision_resnet("", "")).to_ours(theirs.state_dict())
    assert all(key.startswith("fc.") or key.endswith("num_batches_tracked") for key in unknown)
    missing, unexpected = ours.load_state_dict(state, strict=False)
    assert not missing and not unexpected

    images = torch.randn(2, 3, 70, 64)
    with torch.no_grad():
        features = ours(images)
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(images))))
        for i, stage in enumerate((theirs.layer1, theirs.layer2, theirs.layer3, theirs.layer4)):
            x = stage(x)
            assert x.std() > 0.1
            assert worst(features[f"res{i + 2}"], x) < 1e-4 * x.abs().max()


@pytest.mark.parametrize(
    "options, stride, channels",
    [({}, 32, 2048), ({"dilated": True}, 16, 2048), ({"depth": 18, "width": 8}, 32, 64), ({"width": 8}, 32, 256)],
)
def test_says_the_stride_and_channels_it_has(options, stride, channels):
    backbone = resnet(**options)
    shape = backbone.output_shape()["res5"]
    assert (shape.stride, shape.channels) == (stride, channels)
    with torch.no_grad():
        features = backbone(torch.zeros(1, 3, 64, 96))
    assert set(features) == {"res5"}
    assert features["res5"].shape == (1, channels, 64 // stride, 96 // stride)


@pytest.mark.parametrize("freeze_at", [0, 1, 2, 5])
def test_frozen_stages(freeze_at):
    backbone = resnet(width=4, norm="BN", freeze_at=freeze_at)
    stages = ["stem", "res2", "res3", "res4", "res5"]
    for i, stage in enumerate(stages):
        parameters = list(getattr(backbone, stage).parameters())
        # Detectron2 freezes batch norm by turning it into buffers
        frozen = not any(p.requires_grad for p in parameters)
        assert frozen == (i < freeze_at), stage


def test_freezes_like_the_original_unless_told():
    trained = {name.split(".")[0] for name, p in resnet(width=4).named_parameters() if p.requires_grad}
    assert trained == {"res3", "res4", "res5"}
    assert not any("norm" in name for name, _ in resnet(width=4).named_parameters())


@pytest.mark.parametrize("norm, other", [("FrozenBN", torch.nn.BatchNorm2d), ("BN", FrozenBatchNorm2d)])
def test_every_stage_has_the_norm_that_is_asked_for(norm, other):
    assert not any(isinstance(module, other) for module in resnet(width=4, norm=norm, freeze_at=0).modules())


def test_stages_beyond_the_last_are_not_built():
    names = {name.split(".")[0] for name in resnet(width=4, out_features=["res4"]).state_dict()}
    assert names == {"stem", "res2", "res3", "res4"}


@pytest.mark.parametrize("depth, blocks", [(34, 16), (101, 33), (152, 50)])
def test_deeper_networks_have_their_blocks(depth, blocks):
    convolutions = [name for name in resnet(depth=depth, width=4).state_dict() if name.endswith("conv2.weight")]
    assert len(convolutions) == blocks


def test_bad_options_name_their_key():
    with pytest.raises(ValueError, match=r"model.backbone.depth must be one of \[18, 34, 50, 101, 152\], got 51"):
        resnet(depth=51)
    with pytest.raises(ValueError, match="model.backbone.dilated needs .*depth 50 or more.*, got depth 34"):
        resnet(depth=34, dilated=True)


@pytest.mark.parametrize("dilation", [1, 2])
def test_backbone_of_a_yacs_config(dilation):
    cfg = get_cfg()
    cfg.MODEL.BACKBONE.NAME = build_dab_detr_resnet_backbone.__name__
    cfg.MODEL.BACKBONE.FREEZE_AT = 3
    cfg.MODEL.RESNETS.DEPTH = 101
    cfg.MODEL.RESNETS.STEM_OUT_CHANNELS = 4
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res4", "res5"]
    cfg.MODEL.RESNETS.RES5_DILATION = dilation
    cfg.MODEL.RESNETS.NORM = "BN"
    ours = build_backbone(cfg)
    expected = resnet(depth=101, out_features=["res4", "res5"], dilated=dilation == 2, freeze_at=3, norm="BN", width=4)
    assert str(ours) == str(expected)
    assert ours.output_shape() == expected.output_shape()
    trained = [{name for name, p in x.named_parameters() if p.requires_grad} for x in (ours, expected)]
    assert trained[0] == trained[1]


def as_timm_says(name: str, images: torch.Tensor, state: dict) -> dict[int, torch.Tensor]:
    """All of timm's feature maps, channels first, by stride."""
    body = timm.create_model(name, features_only=True).eval()
    body.load_state_dict(state, strict=False)
    maps = body(images)
    if name == "test_mambaout":  # whose channels come last
        maps = [x.permute(0, 3, 1, 2) for x in maps]
    return dict(zip(body.feature_info.reduction(), maps, strict=True))


@torch.no_grad()
@pytest.mark.parametrize("features", [["res5"], ["res3", "res4", "res5"], ["res2", "res5"], ["res5", "res3"]])
@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_mambaout"])
def test_maps_of_timm_by_their_stride(name, features):
    """Of networks that begin at stride 2 and at stride 4, with channels first and last."""
    backbone = TimmBackbone(name=name, out_features=features).eval()
    images = torch.randn(2, 3, 64, 96)
    maps, shapes = backbone(images), backbone.output_shape()
    assert set(maps) == set(shapes) == set(features)
    expected = as_timm_says(name, images, backbone.body.state_dict())
    for feature, x in maps.items():
        stride = 2 ** int(feature[-1])
        assert (shapes[feature].stride, shapes[feature].channels) == (stride, x.shape[1])
        assert x.shape[2:] == (64 // stride, 96 // stride)
        assert worst(x, expected[stride]) < 1e-5


def test_options_of_timm():
    """As dilation, which keeps the feature's name, as Detectron2's dilated ResNets do."""
    backbone = TimmBackbone(name="test_resnet", output_stride=16)
    assert backbone.output_shape()["res5"].stride == 16
    assert backbone(torch.zeros(1, 3, 64, 64))["res5"].shape[2:] == (4, 4)


def test_a_frozen_network_of_timm_keeps_weights_and_statistics():
    network, frozen = TimmBackbone(name="test_resnet"), TimmBackbone(name="test_resnet", frozen=True)
    frozen.load_state_dict(network.state_dict(), strict=False)
    assert not any(x.requires_grad for x in frozen.parameters()) and all(x.requires_grad for x in network.parameters())
    images = torch.rand(2, 3, 64, 64)
    trained, expected = frozen.train()(images)["res5"], network.eval()(images)["res5"]
    assert torch.allclose(trained, expected, atol=1e-6), "training mode does not normalize by the batch"
    before = network.state_dict()
    assert all(torch.equal(x, before[name]) for name, x in frozen.state_dict().items())


def test_pretrained_weights_are_asked_for_once_and_only_if_wanted(monkeypatch):
    asked = []
    create = timm.create_model
    monkeypatch.setattr(
        timm, "create_model", lambda *args, pretrained=False, **kw: asked.append(pretrained) or create(*args, **kw)
    )
    TimmBackbone(name="test_resnet")
    assert not any(asked)
    TimmBackbone(name="test_resnet", pretrained=True)
    assert asked.count(True) == 1


def test_strides_that_a_network_of_timm_does_not_have():
    message = (
        r"test_convnext has \['res2', 'res3', 'res4', 'res5'\], not \['res1', 'stem'\].*model\.backbone\.out_features"
    )
    with pytest.raises(ValueError, match=message):
        TimmBackbone(name="test_convnext", out_features=["stem", "res1", "res5"])


def test_a_detector_on_a_backbone_of_timm():
    node = shrink(deformable_detr())
    node.backbone = LazyCall(TimmBackbone)(name="test_convnext", out_features=["res3", "res4", "res5"])
    node.neck.in_channels = {"res3": 32, "res4": 48, "res5": 64}
    model = instantiate(node)
    losses = train(model, [random_input(objects=2), random_input(64, 160, objects=1)])
    assert sum(losses.values()).isfinite()
    assert all(p.grad is not None for p in model.backbone.parameters() if p.requires_grad)


@pytest.mark.parametrize("width, layout", [(8, torch.contiguous_format), (16, torch.channels_last)])
def test_narrow_networks_keep_the_plain_layout(width, layout):
    """In channels-last, torch's gradient of their strided 1 x 1 convolutions writes past its memory on CPU."""
    weight = resnet(depth=18, width=width, norm="BN").res3[0].conv1.weight
    assert weight.is_contiguous(memory_format=layout)
