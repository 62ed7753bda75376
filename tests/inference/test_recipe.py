"""Configs of either kind, and what a prediction takes of them."""

import copy

import numpy as np
import pytest
import torch
from detectron2.config import LazyConfig, instantiate
from detectron2.data import transforms as T
from omegaconf import OmegaConf

import described
from coco_files import content, write
from dab_detr.config import load, translate
from dab_detr.engine.description import plain_lazy
from dab_detr.inference import Predictor
from dab_detr.inference.recipe import Recipe, build_stored, check_size, dataset_of, recipe_of, recipe_of_stored
from dab_detr.models import MODELS
from tiny import CONFIGS, LAZY, YAML

IMAGE = np.zeros((60, 90, 3), np.uint8)


def shapes(model) -> dict:
    return {name: tuple(x.shape) for name, x in model.state_dict().items()}


@pytest.mark.parametrize("name", MODELS)
def test_every_member_in_its_full_size_is_as_large_as_its_weights(name):
    """A width, such as decoder.layers.hidden, may exceed the number of tensors. A number of layers may not."""
    node = plain_lazy(OmegaConf.create({"model": MODELS[name]()}))["model"]
    with torch.device("meta"):
        weights = instantiate(OmegaConf.create(node)).state_dict()
    check_size(Recipe(model=node, augmentations=[]), weights)
    node["encoder"]["num_layers"] = 5000
    with pytest.raises(ValueError, match="model.encoder.num_layers is 5000"):
        check_size(Recipe(model=node, augmentations=[]), weights)


@pytest.mark.parametrize("kind", ["lazy", "yacs"])
def test_the_stored_config_builds_the_model_of_the_training(kind, tmp_path):
    if kind == "lazy":
        cfg = described.lazy_config(tmp_path)
        stored = plain_lazy(cfg)
    else:
        cfg = described.yacs_config(tmp_path)
        stored = described.plain_yacs(cfg)
    (model, augmentations), (other, others) = (
        recipe_of(translate(cfg) if kind == "yacs" else cfg).build(),
        recipe_of_stored(stored).build(),
    )
    assert shapes(model) == shapes(other)
    assert model.pixel_mean.equal(other.pixel_mean) and model.pixel_std.equal(other.pixel_std)
    for made in (augmentations, others):
        image = T.AugInput(IMAGE)
        made(image)
        assert image.image.shape == (64, 96, 3)


@pytest.mark.parametrize("config", [LAZY, YAML])
def test_a_config_of_the_users_with_any_weights(config, tmp_path):
    """The config file with overrides, as for train_net.py; names come from its dataset."""
    path = described.save_lazy(tmp_path)
    if config is LAZY:
        opts = [*described.lazy_opts(tmp_path), "model.num_classes=3"]
    else:
        opts = [*described.yaml_opts(tmp_path), "MODEL.DAB_DETR.NUM_CLASSES", "3"]
    predictor = Predictor.from_config(load(str(config), opts), path, device="cpu")
    assert (predictor.class_names, predictor.category_ids) == (described.NAMES, [1, 2, 3])
    expected = Predictor.from_checkpoint(path, device="cpu")(IMAGE, threshold=0)
    assert np.array_equal(predictor(IMAGE, threshold=0).boxes, expected.boxes)


def test_a_config_file_that_training_saved(tmp_path):
    path = described.save_lazy(tmp_path)
    LazyConfig.save(described.lazy_config(tmp_path), str(tmp_path / "config.yaml"))
    names = described.NAMES[::-1]  # classes are found by their names
    predictor = Predictor.from_config(tmp_path / "config.yaml", path, device="cpu", class_names=names)
    found, expected = (x(IMAGE, threshold=0) for x in (predictor, Predictor.from_checkpoint(path, device="cpu")))
    assert predictor.class_names == names
    assert found.labels == expected.labels
    assert np.array_equal(found.scores, expected.scores)


def test_coco_is_known_by_name():
    cfg = LazyConfig.load(str(CONFIGS / "dab_detr_r50_50ep.py"))
    assert dataset_of(cfg) == dataset_of(load(str(YAML))) == "coco_2017_val"


def test_data_that_is_not_here_leaves_numbers(tmp_path, caplog):
    path = described.save_lazy(tmp_path)
    cfg = described.lazy_config(tmp_path)
    (tmp_path / "val.json").unlink()
    predictor = Predictor.from_config(cfg, path, device="cpu")
    assert predictor.class_names == ["0", "1", "2"]
    assert "Names of the classes are not known" in caplog.text


def test_data_of_other_classes_leaves_numbers(tmp_path):
    path = described.save_lazy(tmp_path)
    cfg = described.lazy_config(tmp_path)
    cfg.dataset.val.update(write(tmp_path, "other", content(ids=(1, 2))))
    assert Predictor.from_config(cfg, path, device="cpu").class_names == ["0", "1", "2"]


def test_data_that_would_be_made_first_is_not(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    assert dataset_of(LazyConfig.load(str(CONFIGS / "demo_shapes.py"))) is None
    assert not (tmp_path / "datasets").exists()


def test_weights_of_timm_are_not_fetched(tmp_path, monkeypatch):
    cfg = described.lazy_config(tmp_path)
    cfg.model.backbone = {
        "_target_": "dab_detr.modeling.backbone.TimmBackbone", "name": "test_resnet", "pretrained": True,
    }  # fmt: skip
    cfg.model.neck.in_channels = 96
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    recipe_of(cfg).build()
    assert cfg.model.backbone.pretrained  # the user's config is left as it is


@pytest.mark.parametrize("config", [{}, {"model": {}}, {"model": {}, "dataloader": {"test": None}}])
def test_a_config_that_lacks_something(config):
    with pytest.raises(ValueError, match=r"must have model and dataloader\.test\.mapper\.augmentations"):
        recipe_of(config)


def set_augmentations(config: dict, value: object) -> None:
    config["dataloader"]["test"]["mapper"]["augmentations"] = value


IDENTITY = {"_target_": "torch.nn.Identity", "backbone": {}}
DAMAGED = {
    "lazy": {
        "model is a list": lambda config: config.update(model=[1]),
        "no backbone": lambda config: config["model"].pop("backbone"),
        "no neck": lambda config: config["model"].pop("neck"),
        "a backbone's name": lambda config: config["model"].update(backbone="r50"),
        "an unknown key": lambda config: config["model"].update(other=1),
        "no queries": lambda config: config["model"]["queries"].update(num_queries=-1),
        "another model": lambda config: config.update(model=IDENTITY),
        "augmentations are a number": lambda config: set_augmentations(config, 5),
        "augmentations of nothing": lambda config: set_augmentations(config, [{"shape": 32}]),
    },
    "yacs": {
        "an unknown key": lambda config: config["MODEL"].update(NOPE=1),
        "a base": lambda config: config.update(_BASE_="base.yaml"),
        "an unknown backbone": lambda config: config["MODEL"]["BACKBONE"].update(NAME="nope"),
        "a key taken away": lambda config: config["MODEL"]["DAB_DETR"].update(OVERRIDES=["~encoder"]),
        "overrides are numbers": lambda config: config["MODEL"]["DAB_DETR"].update(OVERRIDES=[5]),
        "nothing in it": lambda config: config.update(MODEL=5),
    },
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    folder = tmp_path_factory.mktemp("configs")
    return {
        "lazy": plain_lazy(described.lazy_config(folder)),
        "yacs": described.plain_yacs(described.yacs_config(folder)),
    }


def test_a_part_whose_module_is_not_found_is_named_with_the_way_out(stored):
    config = copy.deepcopy(stored["lazy"])
    config["model"]["decoder"]["prior"] = {"_target_": "my_absent_parts.Prior"}
    told = "cannot be built: there is no module 'my_absent_parts': put the folder that has it into PYTHONPATH"
    with pytest.raises(ValueError, match=told):
        build_stored(config, "a.pth", ["my_absent_parts.Prior"])


@pytest.mark.parametrize(("kind", "damage"), [(kind, damage) for kind, x in DAMAGED.items() for damage in x])
def test_a_stored_config_that_is_damaged_names_the_file_and_the_way_out(kind, damage, stored):
    config = copy.deepcopy(stored[kind])
    DAMAGED[kind][damage](config)
    told = r"^the config inside a\.pth cannot be built: \S.*; give the config .* Predictor\.from_config$"
    with pytest.raises(ValueError, match=told) as error:
        build_stored(config, "a.pth")
    assert error.value.__cause__ is not None
