"""The simple feature pyramid: its maps against ViTDet's layers by hand, padding, and a detector on a plain ViT."""

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import LazyCall as L
from detectron2.config import instantiate

from dab_detr.modeling.backbone import TimmBackbone, resnet
from dab_detr.modeling.simple_pyramid import ChannelNorm, SimplePyramid
from dab_detr.models import dab_detr, dino
from samples import random_input, worst
from tiny import shrink

ALL = ["res2", "res3", "res4", "res5"]


def vit() -> TimmBackbone:
    return TimmBackbone(name="test_vit", out_features=["res4"])


@torch.no_grad()
def test_maps_of_every_stride():
    pyramid, images = SimplePyramid(base=vit(), dim=24, out_features=ALL).eval(), torch.randn(2, 3, 64, 96)
    maps = pyramid(images)
    assert {name: shape.stride for name, shape in pyramid.output_shape().items()} == dict(
        zip(ALL, (4, 8, 16, 32), strict=True)
    )
    for name, shape in pyramid.output_shape().items():
        assert maps[name].shape == (2, 24, 64 // shape.stride, 96 // shape.stride)
    assert pyramid.size_divisibility == 16


@torch.no_grad()
def test_the_finest_map_by_hand():
    pyramid = SimplePyramid(base=vit(), dim=24, out_features=["res2"]).eval()
    images = torch.randn(1, 3, 32, 48)
    x = pyramid.base(images)["res4"]
    first, norm, _, second, lateral, norm1, smooth, norm2 = pyramid.levels[0]

    def normed(x, norm):
        centered = x - x.mean(1, keepdim=True)
        scaled = centered / (centered.square().mean(1, keepdim=True) + 1e-6).sqrt()
        return scaled * norm.weight[:, None, None] + norm.bias[:, None, None]

    x = F.conv_transpose2d(x, first.weight, first.bias, stride=2)
    x = F.conv_transpose2d(F.gelu(normed(x, norm)), second.weight, second.bias, stride=2)
    x = normed(F.conv2d(x, lateral.weight), norm1)
    x = normed(F.conv2d(x, smooth.weight, padding=1), norm2)
    assert worst(pyramid(images)["res2"], x) < 1e-5


def test_norm_is_over_channels():
    norm, x = ChannelNorm(5), torch.randn(2, 5, 3, 4)
    assert worst(norm(x), F.layer_norm(x.permute(0, 2, 3, 1), (5,)).permute(0, 3, 1, 2)) < 1e-6


def test_a_base_with_several_maps_and_strides_out_of_reach_are_refused():
    with pytest.raises(ValueError, match=r"must have one output, but it has \['res4', 'res5'\]"):
        SimplePyramid(base=resnet(depth=18, width=4, out_features=["res4", "res5"]))
    with pytest.raises(ValueError, match=r"may have \['res2', 'res3', 'res4', 'res5'\] on this base, not \['res6'\]"):
        SimplePyramid(base=vit(), out_features=["res5", "res6"])


@pytest.mark.parametrize("name", ["test_vit", "vit_small_patch16_dinov3"])
def test_a_plain_vit_takes_any_size_that_its_patches_divide(name):
    """One with a table of positions, which is interpolated, and one that computes them."""
    backbone = TimmBackbone(name=name, out_features=["res4"]).eval()
    for size in ((64, 96), (32, 16)):
        with torch.no_grad():
            assert backbone(torch.zeros(1, 3, *size))["res4"].shape[2:] == (size[0] // 16, size[1] // 16)
    assert backbone.size_divisibility == 16


def test_a_swin_takes_any_size_that_its_patches_divide():
    small = {"embed_dim": 16, "depths": (1, 1, 1, 1), "num_heads": (1, 1, 1, 1)}
    backbone = TimmBackbone(name="swin_tiny_patch4_window7_224", out_features=["res3", "res5"], **small).eval()
    with torch.no_grad():
        maps = backbone(torch.zeros(1, 3, 68, 100))
    assert maps["res3"].shape == (1, 32, 9, 13) and maps["res5"].shape == (1, 128, 3, 4)
    assert backbone.size_divisibility == 4


def detector():
    model = dino()
    model.backbone = L(SimplePyramid)(base=L(TimmBackbone)(name="test_vit", out_features=["res4"]), dim=32)
    model.neck.in_channels = dict.fromkeys(("res3", "res4", "res5"), 32)
    torch.manual_seed(0)
    return instantiate(shrink(model)).eval()


@torch.no_grad()
def test_images_of_one_size_are_the_same_alone_and_in_a_batch_and_padding_is_seen():
    """A plain ViT does not mask padding, so a smaller image in a batch has other features, not only at its borders."""
    model = detector()
    images = [torch.randint(256, (3, *size), dtype=torch.float) for size in ((64, 64), (64, 64), (96, 64))]
    scores = lambda *batch: model([{"image": x} for x in batch])[0]["instances"].scores  # noqa: E731
    alone = scores(images[0])
    assert worst(scores(images[0], images[1]), alone) < 1e-5
    assert worst(scores(images[0], images[2]), alone) > 1e-4


def test_a_detector_on_odd_sizes_trains():
    """The detector pads images to a multiple of the patches."""
    model = detector().train()
    losses = model([random_input(50, 70, objects=2), random_input(33, 40, objects=0)])
    sum(losses.values()).backward()
    for name, parameter in model.backbone.base.named_parameters():
        if "blocks" in name:
            assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_a_plain_vit_is_enough_for_one_map():
    model = shrink(dab_detr())
    model.backbone = L(TimmBackbone)(name="test_vit", out_features=["res4"])
    model.neck.update(feature="res4", in_channels=64)
    with torch.no_grad():
        (result,) = instantiate(model).eval()([random_input(48, 80)])
    assert len(result["instances"])
