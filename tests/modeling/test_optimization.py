"""The copy for inference: what it is made of, and that it detects what the model does. See also test_equivalence."""

import copy

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import instantiate
from detectron2.layers import Conv2d
from torch import nn

from dab_detr import optimize_for_inference
from dab_detr.modeling.heads import ClassHead
from dab_detr.modeling.onednn import OneDNNConv2d, OneDNNLinear, can_run
from dab_detr.modeling.optimization import optimized
from dab_detr.models import MODELS
from samples import random_input, worst
from tiny import shrink, tell_apart

RUNNABLE = [dtype for dtype in (torch.float32, torch.bfloat16) if can_run(torch.empty(1, dtype=dtype))]  # by this CPU


def small(name: str = "dab_detr", **options):
    config = shrink(MODELS[name]())
    config.update(options)
    return tell_apart(instantiate(config)).eval()


def kinds(model: nn.Module) -> dict[type, int]:
    found = [type(module) for module in model.modules() if isinstance(module, nn.Conv2d | nn.Linear)]
    return {kind: found.count(kind) for kind in set(found)}


@pytest.mark.parametrize("name", MODELS)
def test_detects_what_the_model_detects(name):
    model, inputs = small(name), [random_input(), random_input(64, 160)]
    fast = optimize_for_inference(model)
    with torch.no_grad():
        for ours, theirs in zip(fast(inputs), model(inputs), strict=True):
            ours, theirs = ours["instances"], theirs["instances"]
            assert worst(ours.scores, theirs.scores) < 1e-5
            assert worst(ours.pred_boxes.tensor.sum(), theirs.pred_boxes.tensor.sum()) < 0.5  # ties change places


def test_every_convolution_and_linear_layer_is_onednns():
    model = small()
    convolutions = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    linear = [m for m in model.modules() if isinstance(m, nn.Linear) and not isinstance(m, ClassHead)]
    fast = optimize_for_inference(model)
    assert kinds(fast) == {OneDNNConv2d: len(convolutions), OneDNNLinear: len(linear), ClassHead: 1}
    assert OneDNNConv2d not in kinds(model)
    assert not any(parameter.requires_grad for parameter in fast.parameters())
    assert any(parameter.requires_grad for parameter in model.parameters())


def test_without_onednn_only_batch_norm_is_folded():
    model = small()
    with torch.backends.mkldnn.flags(enabled=False):
        assert set(kinds(optimize_for_inference(model))) <= {nn.Conv2d, *kinds(model)} - {Conv2d}


def test_a_copy_of_a_copy_is_the_same():
    fast, inputs = optimize_for_inference(small()), [random_input()]
    again = optimize_for_inference(copy.deepcopy(fast))
    with torch.no_grad():
        assert worst(fast(inputs)[0]["instances"].scores, again(inputs)[0]["instances"].scores) == 0


def test_a_norm_that_depends_on_the_image_stays():
    conv = Conv2d(4, 8, 3, norm=nn.GroupNorm(2, 8), bias=False)
    assert optimized(conv) is conv
    conv = Conv2d(4, 8, 3, norm=nn.BatchNorm2d(8), bias=False, activation=F.relu).eval()
    assert optimized(conv) is conv


def test_an_autocast_around_it_has_its_way():
    """As the Predictor brings one: the convolutions of a copy in fp32 then compute in 16 bits too."""
    model, inputs = small(), [random_input()]
    fast = optimize_for_inference(model)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        features = fast.backbone(fast.preprocess(inputs).tensor)["res5"]
        ours, theirs = fast(inputs)[0]["instances"], model(inputs)[0]["instances"]
    assert features.dtype == torch.bfloat16
    assert worst(ours.scores, theirs.scores) < 0.05


def integers(*shape: int) -> torch.Tensor:
    return torch.randint(-3, 4, shape).double()


@pytest.mark.parametrize("dtype", RUNNABLE)
@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("add", [False, True])
@pytest.mark.parametrize(
    "size, kernel, stride, dilation", [(13, 1, 1, 1), (13, 1, 2, 1), (13, 3, 1, 2), (13, 7, 2, 1), (3, 5, 1, 1)]
)
def test_convolution_is_exact_on_whole_numbers(dtype, relu, add, size, kernel, stride, dilation):
    """They and their sums are the same in any precision, so the kernel must give what float64 gives, rounded once."""
    conv = OneDNNConv2d(5, 8, kernel, stride, padding=1, dilation=dilation)
    weight, bias, x = integers(8, 5, kernel, kernel), integers(8), integers(2, 5, size, size)
    expected = F.conv2d(x, weight, bias, stride, 1, dilation)
    shortcut = integers(*expected.shape).to(dtype) if add else None
    before = shortcut.clone() if add else None
    expected = expected + shortcut if add else expected
    expected = (expected.relu() if relu else expected).to(dtype)
    with torch.no_grad():
        conv.weight.copy_(weight), conv.bias.copy_(bias)
        found = conv.to(dtype)(x.float(), add=shortcut, relu=relu)
    assert expected.abs().max() > 3 and torch.equal(found, expected)
    assert not add or torch.equal(shortcut, before)


@pytest.mark.parametrize("shape", [(7, 5), (2, 7, 5), (2, 3, 7, 5), (0, 5)])
def test_linear_layer_is_exact_on_whole_numbers(shape):
    linear = OneDNNLinear(5, 4)
    weight, bias, x = integers(4, 5), integers(4), integers(*shape)
    with torch.no_grad():
        linear.weight.copy_(weight), linear.bias.copy_(bias)
        assert torch.equal(linear(x.float()).double(), F.linear(x, weight, bias))
        strided = x.float().flatten(0, -2).repeat(1, 2)[:, :5]
        assert torch.equal(linear(strided).double(), F.linear(x, weight, bias).flatten(0, -2))


def test_bf16_is_stored_as_such():
    model = small(precision="bf16")
    fast = optimize_for_inference(model)
    heads = {*fast.decoder.class_heads.modules(), *fast.decoder.box_heads.modules()}
    layers = [m for m in fast.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert {m.weight.dtype for m in layers if m not in heads} == {torch.bfloat16}
    assert {m.weight.dtype for m in layers if m in heads} == {torch.float32}
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    inputs = [random_input(), random_input(64, 160)]
    with torch.no_grad():
        for ours, theirs in zip(fast(inputs), model(inputs), strict=True):
            assert ours["instances"].pred_boxes.tensor.dtype == torch.float32
            assert worst(ours["instances"].scores, theirs["instances"].scores) < 0.05
