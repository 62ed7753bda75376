"""No checkpoint with a number that is infinite or NaN replaces a finite one."""

import pytest
import torch
from torch import nn

from counting import Linear
from dab_detr.checkpoint.checkpointer import DABDETRCheckpointer
from dab_detr.checkpoint.finite import check_finite


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize(
    "put",
    [
        lambda x: {"model": {"a": torch.ones(2), "weight": x}},
        lambda x: {"trainer": {"optimizer": {"state": {3: {"exp_avg": x}}}}},
        lambda x: {"ema": [(torch.ones(1), x.half())]},
    ],
)
def test_a_number_anywhere_is_found(put, value):
    check_finite(put(torch.zeros(3)), "file.pth")
    with pytest.raises(FloatingPointError, match=r"file\.pth is not written: .*(weight|exp_avg|0\.1) has numbers"):
        check_finite(put(torch.tensor([0.0, value])), "file.pth")


def test_whole_numbers_and_text_are_finite():
    check_finite({"a": torch.tensor([1]), "b": "nan", "c": float("nan"), "d": torch.tensor(True)}, "file.pth")


@pytest.mark.parametrize("place", ["weight", "buffer"])
def test_the_earlier_checkpoint_stays(tmp_path, place):
    model = Linear(2, 1)
    model.norm = nn.BatchNorm1d(3)
    checkpointer = DABDETRCheckpointer(model, str(tmp_path))
    checkpointer.save("model_0000000", iteration=0)
    tensor = model.weight if place == "weight" else model.norm.running_var
    with torch.no_grad():
        tensor.fill_(float("nan"))
    with pytest.raises(FloatingPointError):
        checkpointer.save("model_0000001", iteration=1)
    assert sorted(x.name for x in tmp_path.iterdir()) == ["last_checkpoint", "model_0000000.pth"]
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_0000000.pth")
