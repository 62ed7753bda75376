"""Every optimization computes what the plain form does: float64, weights that differ, and a check of each weight.

The plain form is Detectron2's own ResNet blocks with their frozen batch norm, attention by its formula, and the losses
layer by layer, image by image.
"""

import copy
from functools import cache, partial

import pytest
import torch
from detectron2.config import instantiate
from detectron2.modeling.backbone.resnet import BasicBlock, BasicStem, BottleneckBlock
from torch import nn

from dab_detr.detector import DABDETR, padding_of
from dab_detr.modeling import attention, dot_product, residual
from dab_detr.modeling.optimization import optimize_for_inference
from dab_detr.modeling.recomputation import recompute
from dab_detr.modeling.structures import Prediction
from dab_detr.models import dab_detr
from golden_cases import make_weight
from losses_by_hand import CLASSES, WEIGHTS, by_hand
from samples import random_input
from tiny import shrink

OUTPUTS, GRADIENTS = 1e-12, 1e-9

TRAINING = {
    "folded batch norm, channels last, products": lambda model, patch: patch("FUSED_FROM", 2**40),
    "fused attention": lambda model, patch: patch("FUSED_FROM", 0),
    "activation checkpointing": lambda model, patch: recompute(model, ["backbone", "encoder", "decoder"]),
}
INFERENCE = {"optimized copy": optimize_for_inference}


@cache
def master(depth: int) -> DABDETR:
    """DAB-DETR on a thin ResNet in float64, whose weights depend on their names, statistics of batch norm too."""
    config = shrink(dab_detr())
    config.num_classes, config.backbone.depth, config.neck.in_channels = CLASSES, depth, 128 if depth == 50 else 32
    model = instantiate(config).double()
    for name, tensor in model.state_dict().items():
        name = "refpoint_embed.weight" if name.startswith("queries") else name
        weight = torch.from_numpy(make_weight(name, list(tensor.shape)))
        tensor.copy_(1 + weight if name.endswith("running_var") else weight)
    return model.eval()


@pytest.fixture
def model() -> DABDETR:
    return copy.deepcopy(master(50))


@pytest.fixture(scope="module")
def inputs() -> list[dict]:
    """Two images of different size, so that there is padding."""
    generator = torch.Generator().manual_seed(0)
    images = [torch.randint(256, (3, *size), generator=generator) for size in ((96, 128), (128, 100))]
    entries = [random_input(*x.shape[1:], objects=n, image=x) for x, n in zip(images, (3, 2), strict=True)]
    for entry in entries:
        entry["instances"].gt_classes %= CLASSES
    return entries


@pytest.fixture
def plain(monkeypatch):
    """A function that runs another in the plain form."""

    def run(function, *args):
        with monkeypatch.context() as patch:
            patch.setattr(residual.FoldedStem, "forward", BasicStem.forward)
            patch.setattr(residual.FoldedBasicBlock, "forward", BasicBlock.forward)
            patch.setattr(residual.FoldedBottleneckBlock, "forward", BottleneckBlock.forward)
            patch.setattr(attention, "attend", plain_attention)
            return function(*args)

    return run


def plain_attention(query, key, value, heads, blocked=None, dropout=0.0):
    query, key, value = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key, value))
    scores = query @ key.transpose(-1, -2) / query.shape[-1] ** 0.5
    if blocked is not None:
        scores = scores.masked_fill(blocked, float("-inf"))
    return (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)


def predict(model: DABDETR, inputs: list[dict]) -> Prediction:
    images = model.preprocess(inputs)
    return model.detect(model.backbone(images.tensor), padding_of(images))


def outputs(model: DABDETR, inputs: list[dict]) -> list[torch.Tensor]:
    with torch.no_grad():
        prediction = predict(model, inputs)
    return [prediction.logits, prediction.boxes]


def gradients(model: DABDETR, inputs: list[dict]) -> dict[str, torch.Tensor]:
    """Of the criterion's losses, and the losses themselves."""
    losses = model.criterion(predict(model, inputs), model.targets(inputs))
    sum(losses.values()).backward()
    return losses | {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def gradients_by_hand(model: DABDETR, inputs: list[dict]) -> dict[str, torch.Tensor]:
    losses = by_hand(predict(model, inputs), model.targets(inputs))
    losses = {name: WEIGHTS["_".join(name.split("_")[:2])] * loss for name, loss in losses.items()}
    sum(losses.values()).backward()
    return losses | {name: p.grad for name, p in model.named_parameters() if p.requires_grad}


def farthest(a: list[torch.Tensor], b: list[torch.Tensor]) -> float:
    return max((x - y).abs().max().item() for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("form", TRAINING)
def test_losses_and_gradients(form, model, inputs, plain, monkeypatch):
    expected = plain(gradients_by_hand, copy.deepcopy(model).train(), inputs)
    TRAINING[form](model.train(), partial(monkeypatch.setattr, dot_product))
    found = gradients(model, inputs)
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert tensor.dtype == torch.float64
        assert (found[name] - tensor).norm() <= GRADIENTS * tensor.norm() + OUTPUTS, name


@pytest.mark.parametrize("form", INFERENCE)
def test_outputs(form, model, inputs, plain):
    expected = plain(outputs, model, inputs)
    state = copy.deepcopy(model.state_dict())
    assert farthest(outputs(INFERENCE[form](model), inputs), expected) < OUTPUTS
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in state.items())


@pytest.mark.parametrize("form", INFERENCE)
def test_every_weight_counts(form, inputs, plain):
    """Scaled by 0.9, each tensor moves the optimized form's output to where it moves the plain form's, and that is out
    of tolerance but for those tensors that cannot change it: see `test_parity_original`."""
    model = copy.deepcopy(master(18))
    unscaled, blind = plain(outputs, model, inputs[:1]), []
    for name, tensor in model.state_dict().items():
        before = tensor.clone()
        tensor.mul_(0.9)
        scaled = outputs(INFERENCE[form](model), inputs[:1])
        assert farthest(scaled, plain(outputs, model, inputs[:1])) < OUTPUTS, name
        if farthest(scaled, unscaled) < 100 * OUTPUTS:
            blind.append(name)
        tensor.copy_(before)
    first = "decoder.layers.0.self_attention"
    expected = {"encoder.layers.0.attention.key.bias", f"{first}.value.weight"}
    for i in range(2):
        expected |= {f"decoder.layers.{i}.self_attention.{key}.bias" for key in ("key", "key_position")}
        expected |= {f"decoder.layers.{i}.cross_attention.{key}.bias" for key in ("key", "key_position")}
    for x in ("query", "key", "query_position", "key_position"):
        expected |= {f"{first}.{x}.{p}" for p in ("weight", "bias")}
    assert set(blind) == expected


def test_checkpointing_keeps_less(model, inputs):
    """Tensors that are kept for the gradient, in bytes."""

    def kept(model: nn.Module) -> int:
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(lambda x: sizes.append(x.nbytes) or x, lambda x: x):
            predict(model.train(), inputs)
        return sum(sizes)

    every = kept(model)
    for part in ("backbone", "encoder", "decoder"):
        lean = copy.deepcopy(model)
        recompute(lean, [part])
        assert kept(lean) < 0.97 * every, part  # this transformer is small beside the backbone


def test_checkpointing_of_what_has_no_layers_is_refused(model):
    for part in ("neck", "nothing"):
        with pytest.raises(ValueError, match=f"activation_checkpointing may have .*, got '{part}'"):
            recompute(model, [part])
