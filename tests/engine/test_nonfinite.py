"""Steps that are not finite: skipped as if they had not been, counted, reported, and after three in a row the end."""

import copy
import json
import logging
import math

import pytest
import torch
from detectron2.config import instantiate
from torch import nn

from dab_detr.engine.ema import UpdateAverage, WeightAverage
from dab_detr.engine.loop import TrainingLoop
from dab_detr.engine.optimizer import ClippedAdamW
from dab_detr.models import dab_detr
from samples import random_input
from tiny import shrink, tell_apart

NAN = float("nan")


@pytest.fixture(autouse=True)
def logs_reach_the_test(monkeypatch):
    """Detectron2 keeps those of packages that it has set up from everyone else."""
    monkeypatch.setattr(logging.getLogger("dab_detr"), "propagate", True)


def detector() -> nn.Module:
    """With batch statistics, which a forward pass already changes."""
    node = shrink(dab_detr())
    node.num_classes, node.backbone.norm, node.backbone.freeze_at = 7, "BN", 0
    return tell_apart(instantiate(node))


def images(steps: int = 3) -> list[list[dict]]:
    return [
        [random_input(64, 64, objects=2, image_id=10 * step + i, file_name=f"{step}{i}.png") for i in range(2)]
        for step in range(steps)
    ]


class Recorded(TrainingLoop):
    """Keeps the whole state before every step."""

    def run_step(self):
        self.states = [*getattr(self, "states", []), self.state()]
        super().run_step()

    def state(self) -> dict:
        return copy.deepcopy({"model": self.model.state_dict(), "optimizer": self.optimizer.state_dict()})


def recorded(model, batches, tmp_path, **options) -> Recorded:
    optimizer = ClippedAdamW(model.parameters(), lr=1e-3, max_norm=0.1)
    return Recorded(model, batches, optimizer, output_dir=str(tmp_path), **options)


def tensors(state) -> list[torch.Tensor]:
    if isinstance(state, dict):
        return [x for value in state.values() for x in tensors(value)]
    return [state] if isinstance(state, torch.Tensor) else []


def same(one: dict, two: dict) -> bool:
    return all(torch.equal(a, b) for a, b in zip(tensors(one), tensors(two), strict=True))


def in_an_image(loop):
    image = loop.data_loader[1][1]["image"].float()
    image[0, 3, 3] = NAN
    loop.data_loader[1][1]["image"] = image


def in_a_loss(loop):
    def spoil(module, inputs, losses):
        return losses | {"loss_giou_0": losses["loss_giou_0"] * NAN} if loop.iter == 1 else losses

    loop.model.register_forward_hook(spoil)


def in_a_gradient(loop):
    bias = loop.model.decoder.class_heads[0].bias
    bias.register_hook(lambda gradient: gradient * math.inf if loop.iter == 1 else gradient)


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("spoil", [in_an_image, in_a_loss, in_a_gradient])
def test_a_step_that_is_not_finite_leaves_everything_as_it_was(spoil, accumulate, tmp_path, caplog):
    loop = recorded(detector(), images(), tmp_path, accumulate=accumulate)
    spoil(loop)
    average = WeightAverage(loop.model, decay=0.5)
    loop.register_hooks([UpdateAverage(average, loop.model)])
    loop.train(0, 3)
    first, before, after = loop.states
    assert not same(first, before) and same(before, after) and not same(after, loop.state())
    assert all(x.isfinite().all() for x in [*tensors(loop.state()), *tensors(average.state_dict())])
    logged = [x for x, _ in loop.storage.history("total_loss").values()]
    assert len(logged) == (3 if spoil is in_a_gradient else 2) and all(map(math.isfinite, logged))
    assert loop.storage.latest()["nonfinite_steps"] == (1, 1)
    report = json.loads((tmp_path / "nonfinite/iteration_0000001.json").read_text())
    assert "iteration_0000001.json" in caplog.text
    (process,) = report["processes"]
    assert [x["file_name"] for x in process["images"]] == ["10.png", "11.png"]
    assert len(process["losses"]) == accumulate
    if spoil is in_a_gradient:
        assert report["gradient"]["not_finite"] == ["decoder.class_heads.0.bias"]
        assert report["gradient"]["largest_in"] == "decoder.class_heads.0.bias"
        assert report["gradient"]["largest"] == "inf"
    else:
        assert process["losses"][-1]["loss_giou_0"] == "nan" and report["gradient"]["largest"] == "nan"
    assert [x["pixels_finite"] for x in process["images"]] == [True, spoil is not in_an_image]


class Toy(nn.Module):
    """Its loss is the mean of the images, over the weight."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, batch):
        return {"loss": self.layer(torch.stack([x["image"].float().mean() for x in batch])[:, None]).square().mean()}


def pixels(*values: float) -> list[list[dict]]:
    return [[{"image": torch.full((3, 2, 2), value)}] for value in values]


def test_three_in_a_row_are_the_end_and_it_says_what_to_try(tmp_path):
    loop = recorded(Toy(), pixels(1, NAN, NAN, NAN, 1), tmp_path)
    with pytest.raises(FloatingPointError, match=r"(?s)3 steps in a row.*iteration 3 .*optimizer\.lr .*--resume"):
        loop.train(0, 5)
    assert len(list((tmp_path / "nonfinite").iterdir())) == 3
    assert all(x.isfinite().all() for x in tensors(loop.state()))


def test_two_in_a_row_are_not(tmp_path):
    loop = recorded(Toy(), pixels(NAN, NAN, 1, NAN, NAN, 1), tmp_path)
    loop.train(0, 6)
    assert loop.nonfinite.skipped == 4


def test_the_count_goes_on_after_a_resume(tmp_path):
    loop = recorded(Toy(), pixels(1, NAN, NAN), tmp_path)
    loop.train(0, 3)
    again = recorded(Toy(), pixels(NAN), tmp_path)
    again.load_state_dict(loop.state_dict())
    with pytest.raises(FloatingPointError):
        again.train(3, 4)
    assert again.nonfinite.skipped == 3
    other = recorded(Toy(), pixels(1), tmp_path)
    del (state := loop.state_dict())["nonfinite"]  # a checkpoint of Detectron2's own loop
    other.load_state_dict(state)
    assert other.nonfinite.skipped == 0


def test_a_scale_that_is_too_large_is_no_such_step(tmp_path):
    """fp16's first steps overflow until the scale has come down."""
    loop = recorded(Toy(), pixels(*[1.0] * 12), tmp_path, precision=torch.float16)
    loop.grad_scaler = torch.amp.GradScaler("cpu", init_scale=2.0**22)
    loop.train(0, 12)
    assert loop.nonfinite.skipped == 0 and not (tmp_path / "nonfinite").exists()
    assert same(loop.states[0]["model"], loop.states[4]["model"])
    assert not same(loop.states[0]["model"], loop.state()["model"]) and loop.grad_scaler.get_scale() < 2.0**18
    state = loop.state_dict()["grad_scaler"]
    again = recorded(Toy(), pixels(1), tmp_path, precision=torch.float16)
    again.load_state_dict(loop.state_dict())
    assert again.grad_scaler.state_dict() == state


def test_what_is_not_the_scale_is_such_a_step_in_fp16_too(tmp_path):
    loop = recorded(Toy(), pixels(1, NAN), tmp_path, precision=torch.float16)
    loop.train(0, 2)
    assert loop.nonfinite.skipped == 1
