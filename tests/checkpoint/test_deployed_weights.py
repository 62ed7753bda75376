"""A deployed detector has nothing of its auxiliary heads: no key, no parameter, no work."""

import copy

import pytest
import torch
from detectron2.config import instantiate

import described
from dab_detr import optimize_for_inference
from dab_detr.checkpoint.checkpointer import DABDETRCheckpointer
from dab_detr.checkpoint.description import KEY, Description
from dab_detr.checkpoint.reading import read
from dab_detr.engine.description import plain_lazy
from dab_detr.engine.setup import registered
from dab_detr.inference import Predictor
from samples import random_input
from tools import convert_checkpoint


def config(folder, heads: list[str]):
    cfg = described.lazy_config(folder)
    cfg.model.collaboration.heads = heads
    cfg.model.collaboration.rcnn.hidden = 16
    return cfg


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A detector that was trained with two heads, and its checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    cfg = config(folder, ["rcnn", "atss"])
    model = instantiate(cfg.model)
    dataset = registered(cfg.dataset.train)
    return model, described.save(model, folder, config=lambda: plain_lazy(cfg), dataset=dataset)


@pytest.fixture(scope="module")
def plain(trained, tmp_path_factory):
    """The plain member with the same weights."""
    model = instantiate(config(tmp_path_factory.mktemp("plain"), []).model)
    model.load_state_dict(
        {key: x for key, x in trained[0].state_dict().items() if not key.startswith("collaboration.")}
    )
    return model


def counted(model) -> dict[str, torch.Size]:
    """Names and shapes of all parameters and buffers."""
    return {name: x.shape for name, x in [*model.named_parameters(), *model.named_buffers()]}


def answers(model, inputs) -> list[torch.Tensor]:
    with torch.no_grad():
        found = model.eval()(inputs)[0]["instances"]
    return [found.scores, found.pred_boxes.tensor, found.pred_classes]


def assert_the_same(model, plain):
    assert counted(model) == counted(plain)
    assert [type(x) for x in model.modules()] == [type(x) for x in plain.modules()]
    inputs = [random_input()]
    assert all(torch.equal(a, b) for a, b in zip(answers(model, inputs), answers(plain, inputs), strict=True))


def deploy(path, out, to="dab_detr") -> None:
    convert_checkpoint.convert(convert_checkpoint.parse([str(path), str(out), "--to", to, "--deploy"]))


def test_the_copy_for_inference_is_that_of_the_plain_member(trained, plain):
    model = copy.deepcopy(trained[0])
    assert_the_same(optimize_for_inference(model), optimize_for_inference(plain))
    assert model.collaboration is not None, "the model itself trains on"


def test_a_predictor_is_that_of_the_plain_member(trained, plain):
    assert_the_same(Predictor.from_checkpoint(trained[1], device="cpu").model, optimize_for_inference(plain))


def test_a_deployed_file_has_no_key_of_the_heads_and_describes_the_plain_member(trained, plain, tmp_path, capsys):
    deploy(trained[1], tmp_path / "small.pth")
    content = read(tmp_path / "small.pth")
    assert content["model"].keys() == plain.state_dict().keys()
    about = Description.from_dict(content[KEY])
    assert about.class_names == described.NAMES and about.config["model"]["collaboration"] is None
    lost = len(trained[0].state_dict()) - len(plain.state_dict())
    assert f"{lost} tensors of auxiliary heads are left out: only training needs them" in capsys.readouterr().out
    assert_the_same(
        Predictor.from_checkpoint(tmp_path / "small.pth", device="cpu").model, optimize_for_inference(plain)
    )


def test_it_evaluates_with_the_config_of_its_training(trained, plain, tmp_path):
    deploy(trained[1], tmp_path / "small.pth")
    model = instantiate(config(tmp_path, ["rcnn", "atss"]).model)
    DABDETRCheckpointer(model, strict=True).load(str(tmp_path / "small.pth"))
    inputs = [random_input()]
    assert all(torch.equal(a, b) for a, b in zip(answers(model, inputs), answers(plain, inputs), strict=True))


def test_other_code_has_no_place_for_the_heads(trained, tmp_path):
    arguments = [str(trained[1]), str(tmp_path / "detrex.pth"), "--to", "detrex"]
    with pytest.raises(ValueError, match="detrex has no auxiliary heads: leave them out with --deploy"):
        convert_checkpoint.convert(convert_checkpoint.parse(arguments))
    deploy(trained[1], tmp_path / "detrex.pth", "detrex")
    assert not any("collaboration" in key for key in read(tmp_path / "detrex.pth")["model"])
