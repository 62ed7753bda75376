"""Weights & Biases and MLflow get every scalar once; stand-ins play their part."""

import math
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from detectron2.utils.events import EventStorage

import tiny
import train_net
from dab_detr.engine.trackers import trackers


@pytest.fixture
def sent(monkeypatch) -> list[tuple]:
    """What was called, with its arguments, in the order of the calls."""
    calls = []
    run = SimpleNamespace(
        log=lambda scalars, step: calls.append(("log", step, scalars)),
        save=lambda path, base_path, policy: calls.append(("config", Path(path).name)),
        finish=lambda: calls.append(("end",)),
    )
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda name: calls.append(("start", name)) or run))
    monkeypatch.setitem(
        sys.modules,
        "mlflow",
        SimpleNamespace(
            start_run=lambda run_name: calls.append(("start", run_name)),
            log_metrics=lambda scalars, step: calls.append(("log", step, scalars)),
            log_artifact=lambda path: calls.append(("config", Path(path).name)),
            end_run=lambda: calls.append(("end",)),
        ),
    )
    return calls


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_every_scalar_is_sent_once(tmp_path, sent, name):
    (tmp_path / "config.yaml").write_text("a: 1")
    (writer,) = trackers([name], str(tmp_path))
    with EventStorage(4) as storage:
        storage.put_scalar("total_loss", 2.5, smoothing_hint=False)
        writer.write()
        writer.write()
        storage.step()
        storage.put_scalar("total_loss", 1.5, smoothing_hint=False)
        storage.step()
        storage.put_scalar("bbox/AP", 30.0, smoothing_hint=False)
        writer.write()
    writer.close()
    assert sent == [
        ("start", tmp_path.name),
        ("config", "config.yaml"),
        ("log", 4, {"total_loss": 2.5}),
        ("log", 5, {"total_loss": 1.5}),
        ("log", 6, {"bbox/AP": 30.0}),
        ("end",),
    ]


def test_without_a_config_nothing_is_sent_of_it(tmp_path, sent):
    trackers(["wandb", "mlflow"], str(tmp_path))
    assert sent == [("start", tmp_path.name)] * 2


def test_names_and_values_that_mlflow_refuses(tmp_path, sent):
    scalars = {"bbox/AP-cup & saucer (small)": 1.0, "bbox/APl": math.nan}
    for name in ("wandb", "mlflow"):
        (writer,) = trackers([name], str(tmp_path))
        with EventStorage(0) as storage:
            storage.put_scalars(**scalars)
            writer.write()
    of_wandb, of_mlflow = (call[2] for call in sent if call[0] == "log")
    assert of_wandb.keys() == scalars.keys()
    assert of_mlflow == {"bbox/AP-cup _ saucer _small_": 1.0}


def test_unknown_tracker(tmp_path, sent):
    with pytest.raises(ValueError, match="unknown writer 'wandbb' in train.writers; available: wandb, mlflow"):
        trackers(["mlflow", "wandbb"], str(tmp_path))
    assert sent == [], "before a run is started"


def test_library_that_is_not_installed(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match="'wandb', which is not installed: pip install wandb"):
        trackers(["wandb"], str(tmp_path))


def test_training_asks_for_none_unless_told():
    assert trackers([], "anywhere") == []


@pytest.mark.parametrize(
    ("config", "opts", "asked"),
    [
        (tiny.LAZY, tiny.lazy_opts, ["train.writers=[wandb]"]),
        (tiny.YAML, tiny.yaml_opts, ["WRITERS", "['wandb']"]),
    ],
    ids=["lazy", "yacs"],
)
def test_a_training(tmp_path, sent, config, opts, asked):
    train_net.train(tiny.arguments("--config-file", config, *opts(tmp_path), *asked))
    assert sent[0] == ("start", "output") and sent[-1] == ("end",)
    steps = [call[1] for call in sent if call[0] == "log"]
    assert steps == sorted(steps) and 3 in steps
    assert any("total_loss" in call[2] for call in sent if call[0] == "log")
    assert any("bbox/AP" in call[2] for call in sent if call[0] == "log")


@pytest.mark.parametrize(
    ("config", "opts", "writers"),
    [
        (tiny.LAZY, tiny.lazy_opts, ["train.writers=[wandbb]"]),
        (tiny.YAML, tiny.yaml_opts, ["WRITERS", "['wandbb']"]),
    ],
    ids=["lazy", "yaml"],
)
def test_a_wrong_name_stops_before_a_model_is_built(config, opts, writers, tmp_path):
    with pytest.raises(ValueError, match="unknown writer 'wandbb' in train.writers; available: wandb, mlflow"):
        train_net.train(tiny.arguments("--config-file", config, *opts(tmp_path), *writers))
