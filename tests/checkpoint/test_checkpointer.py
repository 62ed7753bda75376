"""Checkpoints of several makes, as files, into a model."""

import argparse
import os
import resource
from contextlib import contextmanager

import pytest
import torch
import torchvision
from detectron2.config import instantiate
from torch import nn

from counting import Linear
from dab_detr.checkpoint.checkpointer import CheckpointError, DABDETRCheckpointer
from dab_detr.checkpoint.description import Description
from golden_cases import load_case, small_config, small_model


def save(path, content) -> str:
    torch.save(content, path)
    return str(path)


def test_our_own_is_read_back(tmp_path):
    model, other = small_model(), small_model()
    DABDETRCheckpointer(model, str(tmp_path)).save("ours")
    DABDETRCheckpointer(other).load(str(tmp_path / "ours.pth"))
    assert all(torch.equal(other.state_dict()[name], value) for name, value in model.state_dict().items())


def killed(*_):
    raise KeyboardInterrupt


@pytest.mark.parametrize(("kill_in", "at"), [("torch.save", 1), ("os.fsync", 1), ("os.fsync", 2)])
def test_a_kill_while_saving_leaves_a_checkpoint_to_resume_from(kill_in, at, tmp_path, monkeypatch):
    """In the middle of the checkpoint, before it gets its name, and before it becomes the last one."""
    checkpointer = DABDETRCheckpointer(small_model(), str(tmp_path))
    checkpointer.save("first")
    module, name = kill_in.split(".")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        original = getattr({"torch": torch, "os": os}[module], name)
        calls = iter(range(1, 3))
        patch.setattr(kill_in, lambda *args: killed() if next(calls) == at else original(*args))
        checkpointer.save("second")
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "first.pth")
    assert all("model" in torch.load(path) for path in tmp_path.glob("*.pth"))
    checkpointer.save("second")
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "second.pth")
    assert sorted(x.name for x in tmp_path.iterdir()) == ["first.pth", "last_checkpoint", "second.pth"]


def test_what_is_not_to_resume_from_does_not_become_the_last(tmp_path):
    checkpointer = DABDETRCheckpointer(small_model(), str(tmp_path))
    checkpointer.save("model_0000001")
    checkpointer.save("model_best", last=False)
    assert checkpointer.get_checkpoint_file() == str(tmp_path / "model_0000001.pth")
    assert torch.load(tmp_path / "model_best.pth")["model"].keys() == small_model().state_dict().keys()


@contextmanager
def files_of_at_most(size: int):
    """As on a full disk, writing fails with an OSError."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("size", [100_000, 0])
def test_a_full_disk_is_an_error_that_keeps_the_old_checkpoint(size, tmp_path):
    checkpointer = DABDETRCheckpointer(Linear(200, 200), str(tmp_path))
    checkpointer.save("model_0000009")
    before = (tmp_path / "model_0000009.pth").read_bytes()
    for name in ("model_0000019", "model_0000009"):
        with (
            files_of_at_most(size),
            pytest.raises(OSError, match=r"000[01]9.pth could not .*too large.*00009.pth remains"),
        ):
            checkpointer.save(name)
    assert {x.name for x in tmp_path.iterdir()} == {"model_0000009.pth", "last_checkpoint"}
    assert (tmp_path / "model_0000009.pth").read_bytes() == before


def test_the_original_with_its_command_line(tmp_path):
    """A file of the original holds an argparse.Namespace, which torch refuses unless it is allowed by name."""
    case = load_case("base")
    content = {"model": case.state, "epoch": 49, "args": argparse.Namespace(lr=1e-4)}
    model = small_model()
    DABDETRCheckpointer(model, partial=True).load(save(tmp_path / "original.pth", content))
    with torch.no_grad():
        prediction = model.detect({"res5": case.tensor("src")}, case.tensor("mask"))
    assert (prediction.logits - case.tensor("logits")).abs().max() < 2e-5


def test_weights_that_no_rule_knows_are_refused(tmp_path):
    """The norm that ends the encoder of the original's pre_norm models, which this project does not have."""
    state = load_case("base").state | {"transformer.encoder.norm.weight": torch.ones(32)}
    path = save(tmp_path / "original.pth", {"model": state})
    with pytest.raises(CheckpointError, match=r"original\.pth: (.|\n)*transformer\.encoder\.norm\.weight"):
        DABDETRCheckpointer(small_model(), strict=True).load(path)


def test_fixed_centers_are_loaded_too(tmp_path):
    case = load_case("base")
    config = small_config()
    config.queries.fixed_xy = True
    model = instantiate(config)
    DABDETRCheckpointer(model, partial=True).load(save(tmp_path / "original.pth", {"model": case.state}))
    assert torch.equal(model.queries.centre, case.state["refpoint_embed.weight"][:, :2])
    assert "centre" not in dict(model.queries.named_parameters())


def test_torchvision_backbone(tmp_path):
    """Same features as torchvision's own network, the dilated one (DC5) with its dilations 1, 2, 2 included."""
    norm = torchvision.ops.misc.FrozenBatchNorm2d
    theirs = torchvision.models.resnet50(
        weights=None, norm_layer=norm, replace_stride_with_dilation=[False, False, True]
    )
    config = small_config()
    config.backbone.update(depth=50, width=64, dilated=True)
    config.neck.in_channels = 2048
    model = instantiate(config)
    DABDETRCheckpointer(model).load(save(tmp_path / "resnet50.pth", theirs.state_dict()))
    body = torchvision.models._utils.IntermediateLayerGetter(theirs, {"layer4": "res5"}).double()
    image = torch.randn(1, 3, 96, 130, generator=torch.Generator().manual_seed(0)).double()
    with torch.no_grad():
        torch.testing.assert_close(model.backbone.double()(image)["res5"], body(image)["res5"], rtol=1e-9, atol=1e-9)


def test_a_file_of_something_else_is_refused(tmp_path):
    content = {"model": {"head.weight": torch.zeros(2), "head.bias": torch.zeros(2)}}
    with pytest.raises(ValueError, match=r"nothing in the checkpoint fits.*head\.weight.*init_checkpoint"):
        DABDETRCheckpointer(small_model()).load(save(tmp_path / "other.pth", content))


def test_strict_refuses_what_does_not_fill_the_model(tmp_path):
    """Evaluation with a class head of other data would else go on with a random one, and end at AP 0."""
    state = load_case("base").state
    state["class_embed.weight"], state["class_embed.bias"] = torch.zeros(91, 256), torch.zeros(91)
    path = save(tmp_path / "original.pth", {"model": state})
    with pytest.raises(ValueError, match=r"class_heads.*: 0 of 91, the model has 7(.|\n)*num_classes"):
        DABDETRCheckpointer(small_model(), strict=True).load(path)
    DABDETRCheckpointer(small_model(), partial=True).load(path)


def test_a_kill_while_writing_leaves_the_checkpoint_before(tmp_path, monkeypatch):
    model = small_model()
    checkpointer = DABDETRCheckpointer(model, str(tmp_path))
    checkpointer.save("model_final", iteration=1)
    weight = model.decoder.norm.weight.detach().clone()

    def killed(data, file):
        file.write(b"half a checkpoint")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", killed)
    torch.nn.init.zeros_(model.decoder.norm.weight)
    with pytest.raises(KeyboardInterrupt):
        checkpointer.save("model_final", iteration=2)
    loaded = checkpointer.resume_or_load("", resume=True)
    assert loaded["iteration"] == 1
    assert torch.equal(model.decoder.norm.weight, weight)


def test_a_pickle_that_runs_code_is_refused(tmp_path):
    class Malicious:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    with pytest.raises(
        Exception, match=r"bad.pth is refused, and nothing in it was run: it is a pickle that asks for io\.open"
    ):
        DABDETRCheckpointer(small_model()).load(save(tmp_path / "bad.pth", {"model": Malicious()}))
    assert not (tmp_path / "executed").exists()


def test_states_beside_the_model_do_not_follow_another_order_of_classes(tmp_path):
    """Rows of class heads are found by their names, but not in an optimizer or a moving average."""

    def checkpointer(names, **parts) -> DABDETRCheckpointer:
        facts = {"category_ids": None, "config": None, "pixel_mean": [0.0], "pixel_std": [1.0], "input_format": "RGB"}
        about = Description(class_names=names, **facts).to_dict
        return DABDETRCheckpointer(small_model(), str(tmp_path), class_names=names, description=about, **parts)

    names = [f"class {i}" for i in range(small_config().num_classes)]
    checkpointer(names, ema=nn.Linear(2, 2)).save("model_0000001")
    other, path = names[::-1], str(tmp_path / "model_0000001.pth")
    for load in (lambda x: x.resume_or_load("", resume=True), lambda x: x.load(path)):
        with pytest.raises(CheckpointError, match=r"classes have another order .*, which ema cannot follow: give"):
            load(checkpointer(other, ema=nn.Linear(2, 2)))
        load(checkpointer(names, ema=nn.Linear(2, 2)))
    checkpointer(other).load(path)
    checkpointer(other, ema=nn.Linear(2, 2)).load(path, checkpointables=[])


def test_resuming_wants_the_same_classes(tmp_path):
    """A training that starts from other classes begins their rows from scratch; one that resumes must not lose any."""
    DABDETRCheckpointer(small_model(), str(tmp_path)).save("model_0000001")
    config = small_config()
    config.num_classes += 1
    DABDETRCheckpointer(instantiate(config)).load(str(tmp_path / "model_0000001.pth"))
    with pytest.raises(CheckpointError, match=r"class_heads(.|\n)*Its classes differ from those of the data"):
        DABDETRCheckpointer(instantiate(config), str(tmp_path)).resume_or_load("", resume=True)
