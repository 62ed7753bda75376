"""What checkpoints say of themselves, and files that say nothing or something else."""

import argparse
import math

import pytest
import torch

import described
import train_net
from dab_detr import __version__
from dab_detr.checkpoint.checkpointer import DABDETRCheckpointer
from dab_detr.checkpoint.description import KEY, Description, read_description
from tiny import LAZY, YAML, arguments, lazy_opts, yaml_opts

WAYS = {"lazy": (LAZY, lazy_opts), "yaml": (YAML, yaml_opts)}


def example(**changes) -> Description:
    about = {"class_names": ["disc"], "category_ids": [7], "config": {"model": {"dim": 32}}, "input_format": "RGB"}
    return Description(**{**about, "pixel_mean": [1.0, 2.0, 3.0], "pixel_std": [1.0, 1.0, 1.0], **changes})


def test_comes_back_as_it_was(tmp_path):
    about = example(metrics={"bbox/AP": 12.5})
    torch.save({"model": {"a": torch.zeros(1)}, KEY: about.to_dict()}, tmp_path / "a.pth")
    assert read_description(tmp_path / "a.pth") == about


@pytest.mark.parametrize("metrics", [{"bbox": {"AP": 12.5}}, {"bbox/AP": torch.tensor(12.5)}])
def test_metrics_are_flat_numbers(metrics):
    assert example(metrics=metrics).to_dict()["metrics"] == {"bbox/AP": 12.5}


@pytest.mark.parametrize("config", [{"a": {"b": [1, torch.zeros(2)]}}, {"a": {"b": [1, len]}}])
def test_holds_plain_data_only(config):
    with pytest.raises(ValueError, match=r"description\.config\.a\.b\.1 is a \w+, not plain data"):
        example(config=config).to_dict()


@pytest.mark.parametrize("data", ["text", [], {"class_names": ["disc"]}])
def test_another_description_is_refused(data):
    with pytest.raises(ValueError, match="must be a dict with"):
        Description.from_dict(data)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"class_names": 5}, "class_names must be a list of str or None, got 5"),
        ({"class_names": ["disc", 5]}, "class_names must be a list of str"),
        ({"category_ids": ["7"]}, "category_ids must be a list of int"),
        ({"category_ids": [7, 8]}, "category_ids gives 2 ids to 1 class names"),
        ({"config": [1]}, "config must be a dict or None"),
    ],
)
def test_a_description_that_was_edited_names_its_file(changes, told, tmp_path):
    about = example().to_dict() | changes
    torch.save({"model": {"a": torch.zeros(1)}, KEY: about}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=rf"a\.pth: description\.{told}"):
        read_description(tmp_path / "a.pth")


def test_what_later_versions_add_is_left_alone():
    assert Description.from_dict(example().to_dict() | {"new": 1}) == example()


def test_a_checkpoint_that_says_nothing(tmp_path):
    torch.save({"model": {"a": torch.zeros(1)}, "args": argparse.Namespace(lr=1e-4)}, tmp_path / "original.pth")
    with pytest.raises(ValueError, match=r"original\.pth has no description.*Predictor\.from_config"):
        read_description(tmp_path / "original.pth")


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04 truncated"])
def test_a_file_that_is_no_checkpoint(content, tmp_path):
    (tmp_path / "a.pth").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.pth is (not a weights file|truncated or damaged)"):
        read_description(tmp_path / "a.pth")


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(ValueError, match=r"none\.pth does not exist"):
        read_description(tmp_path / "none.pth")


def test_pickled_code_is_not_run(tmp_path):
    class Malicious:
        def __reduce__(self):
            return (open, (str(tmp_path / "executed"), "w"))

    torch.save({"model": {}, KEY: Malicious()}, tmp_path / "a.pth")
    with pytest.raises(ValueError, match=r"is refused, and nothing in it was run.*open"):
        read_description(tmp_path / "a.pth")
    assert not (tmp_path / "executed").exists()


def test_classes_of_a_checkpoint_are_found_by_their_names(tmp_path):
    """As fine-tuning needs it."""
    path = described.save_lazy(tmp_path)
    cfg = described.lazy_config(tmp_path)
    cfg.model.num_classes = 2
    model = described.instantiate(cfg.model)
    DABDETRCheckpointer(model, class_names=["class 2", "new"]).load(str(path), checkpointables=[])
    source = torch.load(path)["model"]["decoder.class_heads.0.weight"]
    assert torch.equal(model.decoder.class_heads[0].weight[0], source[2])
    assert not (model.decoder.class_heads[0].weight[1] == source).all(1).any()


@pytest.mark.parametrize("way", WAYS)
def test_a_training_describes_what_it_saves(way, tmp_path):
    config, opts = WAYS[way]
    results = train_net.train(arguments("--config-file", config, *opts(tmp_path)))
    about = read_description(tmp_path / "output/model_final.pth")
    assert about.class_names == described.NAMES
    assert about.category_ids == [1, 2, 3]
    assert about.pixel_mean == pytest.approx([123.675, 116.28, 103.53])
    assert about.pixel_std == pytest.approx([58.395, 57.12, 57.375])
    assert about.input_format == "RGB"
    assert about.versions["dab_detr"] == __version__
    assert about.versions["torch"] == torch.__version__
    expected = {f"bbox/{name}": value for name, value in results["bbox"].items()}
    assert about.metrics == pytest.approx(expected, nan_ok=True)
    assert not math.isnan(about.metrics["bbox/AP"])
    assert about.config["model"]["num_classes"] == 3
    assert about.config["model"]["decoder"]["layers"]["dim"] == 32  # no interpolation
    assert about.config["train"]["max_iter"] == 4
    # before the first evaluation there was nothing to tell
    assert read_description(tmp_path / "output/model_0000001.pth").metrics == {}


def test_a_config_with_objects_is_left_out_with_a_warning(tmp_path, caplog):
    cfg = described.lazy_config(tmp_path)
    cfg.train.note = lambda: None
    model = described.instantiate(cfg.model)
    path = described.save(model, tmp_path, config=lambda: described.plain_lazy(cfg), dataset=None)
    about = read_description(path)
    assert (about.config, about.class_names, about.category_ids) == (None, None, None)
    assert "config.train.note is a function" in caplog.text
