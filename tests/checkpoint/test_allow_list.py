"""What a config inside a checkpoint may build, and attempts at more."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2 import modeling
from detectron2.config import LazyConfig, instantiate
from detectron2.data import transforms
from detectron2.utils.registry import locate
from omegaconf import OmegaConf

import described
import own_parts
from dab_detr.checkpoint.allow_list import ALLOWED, RENAMED, TIMM, check_config, refused_targets
from dab_detr.config import translate, yacs_defaults
from dab_detr.engine.description import plain_lazy
from dab_detr.inference import Predictor
from dab_detr.inference.recipe import recipe_of, recipe_of_stored
from dab_detr.models import MODELS
from tiny import CONFIGS

NEWER = {f"detectron2.modeling.{name}" for name in ("MViT", "SimpleFeaturePyramid", "SwinTransformer", "ViT")}
HERE = sorted(ALLOWED if hasattr(modeling, "ViT") else ALLOWED - NEWER)  # Detectron2 0.5 has none of these


@pytest.mark.parametrize("config", sorted(CONFIGS.glob("*.py")), ids=lambda path: path.stem)
def test_every_config_of_the_project_may_be_built(config):
    recipe = recipe_of_stored(plain_lazy(LazyConfig.load(str(config))))
    assert recipe.model["_target_"] in ALLOWED


@pytest.mark.parametrize("variant", MODELS)
def test_every_variant_by_a_yacs_config_may_be_built(variant):
    cfg = yacs_defaults()
    cfg.MODEL.BACKBONE.NAME = "build_dab_detr_resnet_backbone"
    cfg.MODEL.DAB_DETR.VARIANT = variant
    cfg.MODEL.RESNETS.OUT_FEATURES = ["res3", "res4", "res5"]
    assert recipe_of_stored(described.plain_yacs(cfg)).model.keys() == recipe_of(translate(cfg)).model.keys()


@pytest.mark.parametrize("name", HERE)
def test_a_name_stands_for_something_of_its_own_library(name):
    found = locate(name)
    assert name.endswith(f".{found.__qualname__}")
    assert found.__module__.split(".")[0] == name.split(".")[0]


REFUSED = {
    "a function of the system": "os.system",
    "a builtin": "builtins.eval",
    "a bare builtin": "eval",
    "through a module of ours": "dab_detr.checkpoint.checkpointer.Path.unlink",
    "what a module of ours imports": "dab_detr.models.builders.copy.os.system",
    "an import of an allowed module": "torch.nn.modules.module.torch.load",
    "an attribute of what is allowed": "torch.nn.Identity.__init__.__globals__",
    "another part of the package": "dab_detr.data.shapes.generate_shapes",
    "another class of torch": "torch.nn.Module",
    "another case": "OS.system",
    "spaces": " dab_detr.DABDETR",
    "two dots": "dab_detr..DABDETR",
    "no string": {"_target_": "torch.nn.Identity"},
    "a list": ["os.system"],
    "nothing": None,
}
PLACES = {
    "at the top": lambda node: node,
    "in an argument": lambda node: {"_target_": "torch.nn.LayerNorm", "normalized_shape": node},
    "in a list": lambda node: {"_target_": "torch.nn.Identity", "a": [1, [node]]},
    "under a plain dict": lambda node: {"a": {"b": node}},
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("target", REFUSED)
def test_other_names_are_refused_wherever_they_stand(target, place):
    node = PLACES[place]({"_target_": REFUSED[target], "command": "true"})
    with pytest.raises(ValueError) as error:
        check_config(node)
    assert f"names {REFUSED[target]!r}, which is not in the list" in str(error.value)


@pytest.mark.parametrize("text", ["${oc.env:HOME}", "${model.dim}", "a ${..b}"])
def test_interpolations_are_refused(text):
    with pytest.raises(ValueError, match=r"refused: config\.a\.0 in the checkpoint is .*interpolations"):
        check_config({"a": [text]})


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "hf-hub:someone/something"},
        {"name": "local-dir:/etc"},
        {"name": "convnext_tiny", "checkpoint_path": "x.npz"},
        {"name": "convnext_tiny", "pretrained_cfg": {"url": "http://example.org"}},
    ],
)
def test_timm_takes_nothing_from_elsewhere(arguments):
    with pytest.raises(ValueError, match="refused: config.backbone in the checkpoint may give timm"):
        check_config({"backbone": {"_target_": TIMM, **arguments}})
    check_config({"backbone": {"_target_": TIMM, "name": "convnext_tiny.fb_in1k", "out_features": ["res5"]}})


def test_what_code_put_there_may_stay():
    check_config({"_target_": transforms.Resize, "shape": 32})


@pytest.fixture
def executed(tmp_path, monkeypatch):
    """A file that every attack below would write."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SECRET", "leaked")
    return tmp_path / "executed"


def bad(command="touch executed"):
    return {"_target_": "os.system", "command": command}


LAZY_ATTACKS = {
    "the model": lambda config: config.update(model=bad()),
    "a part": lambda config: config["model"]["neck"].update(position=bad()),
    "the selection": lambda config: config["model"].update(selection=bad()),
    "an augmentation": lambda config: config["dataloader"]["test"]["mapper"].update(augmentations=[bad()]),
    "a list": lambda config: config["model"].update(pixel_mean=[bad()]),
    "a key of no meaning": lambda config: config["model"].update(other={"deep": [bad()]}),
}


@pytest.mark.parametrize("attack", LAZY_ATTACKS)
def test_a_stored_config_runs_nothing(attack, tmp_path, executed):
    path = described.change(described.save_lazy(tmp_path), lambda about: LAZY_ATTACKS[attack](about["config"]))
    with pytest.raises(ValueError, match=r"refused: .* names 'os\.system'"):
        Predictor.from_checkpoint(path, device="cpu")
    assert not executed.exists()


def test_what_is_not_built_is_not_looked_at(tmp_path, executed):
    """The data of the training, say, may be of a package of the user's; nothing of it is called."""
    path = described.change(described.save_lazy(tmp_path), lambda about: about["config"].update(optimizer=bad()))
    Predictor.from_checkpoint(path, device="cpu")
    assert not executed.exists()


@pytest.mark.parametrize(
    "override, reason",
    [
        ("criterion._target_=os.system", r"names 'os\.system'"),
        ("+selection={_target_: os.system, command: touch executed}", r"names 'os\.system'"),
        ("neck.dim=${oc.env:SECRET}", "interpolations are not followed"),
        (r"input_format=$\{oc.env:SECRET\}", "interpolations are not followed"),
        (r"+criterion.note={deep: $\{oc.env:SECRET\}}", "interpolations are not followed"),
    ],
)
def test_a_stored_yacs_config_runs_nothing(override, reason, tmp_path, executed):
    def spoil(about):
        about["config"]["MODEL"]["DAB_DETR"]["OVERRIDES"] = [override]

    path = described.change(described.save_yacs(tmp_path), spoil)
    with pytest.raises(ValueError, match=f"refused: .*{reason}") as error:
        Predictor.from_checkpoint(path, device="cpu")
    assert not executed.exists()
    assert "leaked" not in str(error.value)


@pytest.mark.parametrize("key", ["train.output_dir", "dataloader.test.num_workers"])
def test_no_part_of_a_stored_yacs_config_reads_the_environment(key, tmp_path, executed):
    """Its `OVERRIDES` reach beyond the model."""

    def spoil(about):
        about["config"]["OVERRIDES"] = [rf"{key}=$\{{oc.env:SECRET\}}"]

    path = described.change(described.save_yacs(tmp_path), spoil)
    with pytest.raises(ValueError, match="interpolations are not followed"):
        Predictor.from_checkpoint(path, device="cpu")


def test_the_environment_is_not_read(tmp_path, executed):
    def spoil(about):
        about["config"]["model"]["input_format"] = "${oc.env:SECRET}"

    path = described.change(described.save_lazy(tmp_path), spoil)
    with pytest.raises(ValueError, match="interpolations are not followed") as error:
        Predictor.from_checkpoint(path, device="cpu")
    assert "leaked" not in str(error.value)


def test_a_yacs_config_takes_no_code_from_strings(tmp_path, executed):
    """yacs reads strings as Python literals; no more than that."""

    def spoil(about):
        about["config"]["MODEL"]["DAB_DETR"]["NUM_QUERIES"] = "__import__('os').system('touch executed')"

    path = described.change(described.save_yacs(tmp_path), spoil)
    with pytest.raises(
        ValueError, match=r"the config inside \S+\.pth cannot be built: TypeError: .*invalid combination"
    ):
        Predictor.from_checkpoint(path, device="cpu")
    assert not executed.exists()


# the models of version 0.1.0 as its checkpoints have them, DAB-DETR with denoising
STORED = json.loads((Path(__file__).parents[1] / "golden/stored_configs_0.1.0.json").read_text())


def shapes(node) -> dict:
    """The shapes of a model's weights, without the memory for them."""
    with torch.device("meta"):
        return {name: x.shape for name, x in instantiate(node).state_dict().items()}


@pytest.mark.parametrize("name", STORED)
def test_stored_configs_of_older_versions_build_the_same_models(name):
    config = STORED[name] | {"dataloader": {"test": {"mapper": {"augmentations": []}}}}
    current = MODELS[name]()
    current.denoising.groups = config["model"]["denoising"]["groups"]
    assert shapes(OmegaConf.create(recipe_of_stored(config).model)) == shapes(current)
    assert refused_targets(config) == []


def test_a_checkpoint_with_the_names_of_an_older_version_predicts(tmp_path):
    image = np.zeros((60, 90, 3), np.uint8)
    path = described.save_lazy(tmp_path)
    expected = Predictor.from_checkpoint(path, device="cpu")(image, threshold=0)

    def make_older(about):
        text = json.dumps(about["config"])
        for old, new in RENAMED.items():
            text = text.replace(new, old)
        about["config"] = json.loads(text)

    described.change(path, make_older)
    assert "dab_detr.models.layers.scaled_encoder" in str(torch.load(path)["dab_detr"]["config"])
    assert np.array_equal(Predictor.from_checkpoint(path, device="cpu")(image, threshold=0).boxes, expected.boxes)


PRIOR, QUERIES = described.OWN_PRIOR, "own_parts.build_queries"


def test_training_names_the_parts_that_prediction_refuses(tmp_path, caplog):
    described.save_lazy(tmp_path)
    assert "allow=" not in caplog.text
    described.save_own_prior(tmp_path)
    assert f"Predictor.from_checkpoint(path, allow=['{PRIOR}']), or predict.py --allow {PRIOR}" in caplog.text


def test_refused_names_are_told_once_and_only_those_that_would_be_built():
    part = {"_target_": PRIOR}
    config = {
        "model": {"_target_": "dab_detr.DABDETR", "a": [part, {"b": part}], "queries": {"_target_": QUERIES}},
        "dataloader": {"train": {"_target_": "mine.loader"}, "test": {"mapper": {"augmentations": [bad()]}}},
        "optimizer": {"_target_": "mine.optimizer"},
    }
    assert refused_targets(config) == [PRIOR, QUERIES, "os.system"]
    assert refused_targets(config, allow=[PRIOR]) == [QUERIES, "os.system"]
    assert refused_targets({}) == refused_targets({"model": None, "dataloader": 3}) == []


@pytest.fixture
def with_own_prior(tmp_path):
    return described.save_own_prior(tmp_path)


@pytest.mark.parametrize("allow", [[PRIOR], (PRIOR, QUERIES), PRIOR])
def test_what_is_allowed_by_name_is_built(allow, with_own_prior):
    predictor = Predictor.from_checkpoint(with_own_prior, allow=allow, device="cpu")
    assert type(predictor.model.decoder.prior).__name__ == own_parts.CenterPrior.__name__


@pytest.mark.parametrize("allow", [[], [QUERIES], [PRIOR.upper()], ["own_parts"], f"{PRIOR}s", [f"{PRIOR}.__init__"]])
def test_without_its_name_a_part_is_refused_and_the_way_out_is_told(allow, with_own_prior):
    with pytest.raises(ValueError, match=rf"refused: model\.decoder\.prior .* names '{PRIOR}'.*--allow {PRIOR}"):
        Predictor.from_checkpoint(with_own_prior, allow=allow, device="cpu")


def test_allowing_one_name_allows_no_other(with_own_prior, executed):
    path = described.change(with_own_prior, lambda about: about["config"]["model"].update(selection=bad()))
    with pytest.raises(ValueError, match=r"refused: model\.selection .* names 'os\.system'"):
        Predictor.from_checkpoint(path, allow=[PRIOR], device="cpu")
    assert not executed.exists()
