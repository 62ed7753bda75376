"""Parameter groups and full-model gradient clipping."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import clip_grad_norm_

from dab_detr.engine.optimizer import ClippedAdamW, parameter_groups


class Model(nn.Module):
    """A backbone with a frozen and a trainable part, a norm, a buffer, and a head that is used twice."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.Linear(3, 3))
        self.backbone[0].requires_grad_(False)
        self.backbone_like = nn.Linear(3, 4)
        self.head = nn.Linear(4, 1)
        self.heads = nn.ModuleList([self.head, self.head])
        self.register_buffer("anchors", torch.rand(2))


def ids(parameters) -> set[int]:
    return {id(x) for x in parameters}


def test_parameter_groups():
    model = Model()
    fast, slow = parameter_groups(model, lr=1e-4, lr_factors={"backbone": 0.1})
    assert (fast["lr"], slow["lr"]) == (1e-4, pytest.approx(1e-5))
    assert ids(slow["params"]) == ids([*model.backbone[1].parameters(), *model.backbone[2].parameters()])
    assert ids(fast["params"]) == ids([*model.backbone_like.parameters(), *model.head.parameters()])
    assert len(fast["params"]) == 4  # the shared head once


def test_first_matching_name_decides():
    groups = parameter_groups(Model(), lr=1.0, lr_factors={"backbone.2": 0.5, "backbone": 0.1})
    assert [(x["lr"], len(x["params"])) for x in groups] == [(1.0, 4), (0.1, 2), (0.5, 2)]


def test_a_factor_of_one_is_no_group_of_its_own():
    assert len(parameter_groups(Model(), lr=1.0, lr_factors={"backbone": 1.0})) == 1


def test_name_of_no_module():
    with pytest.raises(ValueError, match=r"lr_factors names \['bakbone'\].*'backbone_like'"):
        parameter_groups(Model(), lr=1.0, lr_factors={"bakbone": 0.1})


def test_a_frozen_module_may_be_named():
    model = Model()
    model.backbone.requires_grad_(False)
    assert len(parameter_groups(model, lr=1.0, lr_factors={"backbone": 0.1})) == 1


def gradients(model: nn.Module, scale: float) -> None:
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.grad = scale * torch.randn(parameter.shape, generator=generator)


@pytest.mark.parametrize("scale", [10.0, 1e-4], ids=["clipped", "small enough"])
def test_clips_the_gradient_of_all_parameters_together(scale):
    model = Model()
    reference = copy.deepcopy(model)
    ours = ClippedAdamW(
        parameter_groups(model, lr=0.1, lr_factors={"backbone": 0.1}), lr=0.1, weight_decay=0.2, max_norm=0.1
    )
    plain = torch.optim.AdamW(
        parameter_groups(reference, lr=0.1, lr_factors={"backbone": 0.1}), lr=0.1, weight_decay=0.2
    )
    for _ in range(3):
        for x, optimizer in ((model, ours), (reference, plain)):
            gradients(x, scale)
            if optimizer is plain:
                clip_grad_norm_([p for p in x.parameters() if p.grad is not None], 0.1)
            optimizer.step()
    norms = [p.grad.norm() for p in model.parameters() if p.grad is not None]
    assert torch.stack(norms).norm() <= 0.1 * (1 + 1e-5)
    for a, b in zip(model.parameters(), reference.parameters(), strict=True):
        assert torch.equal(a, b)


def test_clips_what_a_scaler_has_unscaled():
    model = nn.Linear(2, 1)
    scaled = copy.deepcopy(model)
    for x in (model, scaled):
        optimizer = ClippedAdamW(x.parameters(), lr=0.1, max_norm=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=x is scaled)
        loss = x(torch.ones(3, 2)).square().sum()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        assert x.weight.grad.norm() < 0.1
    assert torch.allclose(model.weight, scaled.weight, atol=1e-6)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_survive_a_gradient_that_is_not_finite(value):
    model = nn.Linear(2, 1)
    before = copy.deepcopy(model.state_dict())
    optimizer = ClippedAdamW(model.parameters(), lr=0.1, max_norm=0.1)
    gradients(model, 1.0)
    model.bias.grad.fill_(value)
    with pytest.raises(FloatingPointError, match="infinite or NaN"):
        optimizer.step()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_closure():
    model = nn.Linear(2, 1)
    optimizer = ClippedAdamW(model.parameters(), lr=0.1, max_norm=0.1)

    def closure():
        optimizer.zero_grad()
        loss = (100 * model(torch.ones(1, 2))).sum()
        loss.backward()
        return loss

    assert optimizer.step(closure) is not None
    assert torch.cat([model.weight.grad.flatten(), model.bias.grad]).norm() <= 0.1 * (1 + 1e-5)


@pytest.mark.parametrize(
    "arguments, message",
    [({"max_norm": 0.0}, "max_norm must be positive"), ({"max_norm": 1.0, "fused": True}, "fused")],
)
def test_what_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        ClippedAdamW(nn.Linear(1, 1).parameters(), lr=0.1, **arguments)
