"""From feature maps to predictions nothing travels between CPU and device and nobody waits for it, so that CUDA graphs
are possible. Without a GPU: on the meta device, where every operation is seen and none may touch a tensor elsewhere."""

import pytest
import torch
from detectron2.config import instantiate
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from dab_detr.models import MODELS
from tiny import shrink

OPS = torch.ops.aten
WAITS = {OPS._local_scalar_dense.default, OPS.nonzero.default}
BRINGS = {OPS.index.Tensor}  # whose index mostly was a list
FACTORIES = {torch.tensor, torch.as_tensor, torch.Tensor.new_tensor}  # of lists and numbers, as no operation shows


class Factories(TorchFunctionMode):
    """Raises where Python values become a tensor on the device."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        if function in FACTORIES:
            raise AssertionError(f"{function} brings something to the device")
        return function(*args, **(kwargs or {}))


class Traffic(TorchDispatchMode):
    """Raises for an operation that waits for the device, or brings something there from the CPU."""

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        tensors = [x for x in tree_leaves((args, kwargs or {})) if isinstance(x, torch.Tensor)]
        if operation in WAITS | BRINGS or any(x.device.type == "cpu" and x.dim() for x in tensors):
            raise AssertionError(f"{operation} waits for the device or brings something there")
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", MODELS)
def test_nothing_travels(name):
    model = instantiate(shrink(MODELS[name]())).eval().to("meta")
    shapes = model.backbone.output_shape()
    features = {
        k: torch.empty(2, v.channels, 384 // v.stride, 416 // v.stride, device="meta") for k, v in shapes.items()
    }
    with torch.no_grad(), Factories(), Traffic():
        prediction = model.detect(features, torch.empty(2, 384, 416, dtype=torch.bool, device="meta"))
    assert prediction.boxes.shape == (2, 2, len(prediction.boxes[0, 0]), 4)


@pytest.mark.parametrize(
    "travelling",
    [
        lambda x: x[..., [1, 0, 2, 3]],
        lambda x: torch.tensor([1.0], device="meta"),
        lambda x: x.sum().item(),
        lambda x: torch.as_tensor(20.0, device="meta"),
        lambda x: x[x > 0],
        lambda x: x + torch.ones(4).to("meta"),
    ],
)
def test_traffic_is_noticed(travelling):
    x = torch.empty(3, 4, device="meta")
    with Factories(), Traffic(), pytest.raises((AssertionError, RuntimeError, NotImplementedError)):
        travelling(x)
