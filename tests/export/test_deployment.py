"""From a checkpoint to an exported file, and with it every way that a checkpoint has: predict, evaluate, serve."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dab_detr.engine.training import run
from dab_detr.inference import Predictor
from described import NAMES
from tiny import LAZY, YAML, arguments, configured, lazy_opts, yaml_opts
from tools import explain, export_model, predict

DEPLOY = Path(__file__).parents[2] / "docs" / "deploy.md"


@pytest.fixture
def folder(deployed) -> Path:
    """The folder of model.pth, its model.onnx and picture.png."""
    return deployed.folder


def test_the_predictor_detects_the_same(folder):
    ours = Predictor.from_checkpoint(folder / "model.onnx")(folder / "picture.png", threshold=0.0)
    theirs = Predictor.from_checkpoint(folder / "model.pth", device="cpu")(folder / "picture.png", threshold=0.0)
    assert ours.class_names == theirs.class_names == NAMES and len(ours) == len(theirs) > 0
    assert np.abs(ours.scores - theirs.scores).max() < 1e-5


def test_evaluation_gives_the_same(folder, tmp_path):
    results = []
    for name in ("model.pth", "model.onnx"):
        opts = [*lazy_opts(tmp_path / name), f"train.init_checkpoint={folder / name}"]
        words = ["--config-file", LAZY, "--eval-only", *opts]
        results.append(run(configured(*words), arguments(*words))["bbox"])
    assert results[0] == pytest.approx(results[1], abs=0.05, nan_ok=True)


def test_an_evaluation_wants_the_classes_of_the_exported_file(folder, tmp_path, monkeypatch):
    monkeypatch.setattr("dab_detr.engine.training.class_names", lambda *_: list(NAMES)[::-1])
    words = ["--config-file", LAZY, "--eval-only", *lazy_opts(tmp_path), f"train.init_checkpoint={folder}/model.onnx"]
    with pytest.raises(ValueError, match="model.onnx and dataset.val have other classes"):
        run(configured(*words), arguments(*words))


def test_a_yaml_config_evaluates_an_exported_file(folder, tmp_path):
    opts = [*yaml_opts(tmp_path), "MODEL.DAB_DETR.NUM_CLASSES", "3", "MODEL.WEIGHTS", folder / "model.onnx"]
    words = ["--config-file", YAML, "--eval-only", *opts]
    lazy = ["--config-file", LAZY, "--eval-only", *lazy_opts(tmp_path), f"train.init_checkpoint={folder}/model.onnx"]
    found, expected = (run(configured(*x), arguments(*x))["bbox"] for x in (words, lazy))
    assert found == pytest.approx(expected, nan_ok=True)


def test_the_script_of_the_docs_needs_neither_torch_nor_detectron2(folder):
    """It runs in a process in which they, and this project, cannot be imported."""
    script = re.search(r"```python\n(# serve\.py.*?)```", DEPLOY.read_text(), re.DOTALL).group(1)
    assert len(script.splitlines()) <= 30
    blocked = "import sys\nfor name in ('torch', 'detectron2', 'dab_detr'): sys.modules[name] = None\n"
    command = [sys.executable, "-c", blocked + script, folder / "model.onnx", folder / "picture.png", "0"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    expected = Predictor.from_checkpoint(folder / "model.onnx")(folder / "picture.png", threshold=0.0).objects()
    assert len(found) == len(expected) > 0
    for ours, theirs in zip(found[:5], expected[:5], strict=True):
        assert ours["score"] == pytest.approx(theirs["score"], abs=0.01)
    assert {x["label"] for x in found} <= set(NAMES)


@pytest.mark.parametrize(
    "options, complaint",
    [
        (["--to", "onnx", "model.xml"], "writes .onnx files"),
        (["--to", "onnx", "model.onnx"], "exists already"),
        (["--to", "onnx", "--precision", "int8", "new.onnx"], "--calibration need each other"),
        (["--to", "torch", "--precision", "fp16", "new.pt2"], "takes --precision fp32, not fp16"),
        (["--to", "torch", "--fixed", "0", "64", "64", "new.pt2"], "--fixed must be"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_built(folder, monkeypatch, capsys, options, complaint):
    monkeypatch.chdir(folder)
    assert export_model.main(["--checkpoint", "none.pth", *options]) == 2
    assert complaint in capsys.readouterr().err


def test_an_exported_file_is_neither_exported_again_nor_explained(folder, tmp_path, capsys):
    file, picture = str(folder / "model.onnx"), str(folder / "picture.png")
    assert export_model.main(["--checkpoint", file, "--to", "openvino", str(tmp_path / "x.xml")]) == 2
    assert f"{file} is exported already: give the checkpoint" in capsys.readouterr().err
    beside = ["--checkpoint", str(folder / "model.pth"), "--figures", "--beside", file]
    for words in (["--checkpoint", file], beside):
        assert explain.main([picture, *words, "--output", str(tmp_path / "pages")]) == 2
        assert f"{file} has no attention to show: give the checkpoint" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_an_export_ends_with_the_way_to_use_the_file(monkeypatch, tmp_path, capsys):
    predictor = SimpleNamespace(model=None, augmentations=None, class_names=NAMES, category_ids=None)
    monkeypatch.setattr(export_model, "predictor_of", lambda args: predictor)
    monkeypatch.setattr(export_model, "resizing_rule", lambda augmentations: (64, 128))
    monkeypatch.setattr(export_model, "DetectionGraph", lambda model, **options: None)
    monkeypatch.setattr(export_model, "write", lambda *args, **options: None)
    arguments = ["--checkpoint", "none.pth", "--to", "onnx", str(tmp_path / "my model.onnx")]
    assert export_model.main(arguments) == 0
    step = capsys.readouterr().out.splitlines()[-1].removeprefix("next: ")
    words = shlex.split(step, comments=True)
    assert words[:2] == ["python", "tools/predict.py"] and "docs/deploy.md" in step
    assert predict.parse(words[2:]).checkpoint == arguments[-1]
    assert export_model.main([*arguments, "--fixed", "1", "64", "64"]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "next: check and serve it as docs/deploy.md says"
