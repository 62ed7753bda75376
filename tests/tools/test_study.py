"""The study: its rows exist, its runs resume, and its results are collected."""

import json
import platform
import shutil

import pytest
import torch

from benchmarks.study import __main__ as study
from benchmarks.study import running
from benchmarks.study.attention import checkpoints
from benchmarks.study.lite0 import LITE0
from benchmarks.study.rows import CONVERGENCE, PRESETS, ROWS, Preset
from benchmarks.study.running import ROOT, classes, collect, curve, kept_backbone, perform
from benchmarks.study.runs import Run, planned
from benchmarks.study.starts import fingerprint, write_weights
from dab_detr.config import load
from study_runs import result, smallest, trains_for_real


def test_every_row_is_a_config_whose_overrides_are_known(tmp_path):
    runs = [run for run in planned(list(ROWS.values()), PRESETS["cpu"], tmp_path / "cpu") if run.seed == 0]
    assert len(runs) == len(ROWS)
    for run in runs:
        arguments = run.arguments()
        cfg = load(ROOT / arguments[1], arguments[2:])
        assert cfg.train.output_dir == str(run.folder) and cfg.train.seed == 0


def test_every_row_of_the_preset_for_coco_has_a_config(tmp_path):
    runs = planned(list(ROWS.values()), PRESETS["coco"], tmp_path)
    assert len(runs) >= 25
    for run in runs:
        assert (ROOT / run.arguments()[1]).is_file(), run.row.name
        assert not run.starts_elsewhere, "the start would take the place of the backbone's weights"


def test_rows_of_one_question_are_compared_with_one_row():
    for question in {row.question for row in ROWS.values()} - {CONVERGENCE}:
        assert len({row.base for row in ROWS.values() if row.question == question}) == 1


def test_core_rows_have_more_seeds_and_all_first_seeds_come_first(tmp_path):
    runs = planned([ROWS["dab_detr"], ROWS["points"], ROWS["two_stage"]], Preset(seeds=1, core_seeds=3), tmp_path)
    names = ["dab_detr", "points", "two_stage", "dab_detr", "points", "dab_detr", "points"]
    assert [run.row.name for run in runs] == names
    assert [run.seed for run in runs] == [0, 0, 0, 1, 1, 2, 2]


def test_a_longer_row_has_a_multiple_of_the_steps(tmp_path):
    run, *_ = planned([ROWS["detr_long"]], Preset(steps=50, evaluations=5), tmp_path)
    assert "train.max_iter=200" in run.arguments() and "train.eval_period=40" in run.arguments()


def test_two_rows_are_trained_for_real_and_not_again(tmp_path, monkeypatch, capsys):
    calls = trains_for_real(monkeypatch)
    monkeypatch.setitem(PRESETS, "cpu", smallest(tmp_path))
    command = ["dab_detr", "points", "--output", str(tmp_path / "runs"), "--docs", str(tmp_path / "docs")]
    assert study.main(command) == 0
    page = (tmp_path / "docs" / "study.md").read_bytes()
    assert b"points instead of boxes" in page and len(calls) == 2
    assert study.main(command) == 0 and len(calls) == 2
    assert "2 of 2 runs are in" in capsys.readouterr().out
    assert (tmp_path / "docs" / "study.md").read_bytes() == page
    stored = json.loads((tmp_path / "docs" / "study" / "results_cpu.json").read_text())
    assert [x["row"] for x in stored] == ["dab_detr", "points"]
    assert "--resume" not in stored[0]["command"] and str(tmp_path / "runs") not in stored[0]["command"]
    ((step, share, number),) = stored[0]["attention"]
    assert step == 2 and 0 < share <= 1 <= number and "attention" not in stored[1]
    shutil.rmtree(tmp_path / "runs" / "cpu")
    assert study.main(command) == 0 and len(calls) == 2, "the page's results are enough"
    assert (tmp_path / "docs" / "study.md").read_bytes() == page
    monkeypatch.setattr(study, "perform_all", lambda runs, jobs: [f"{run.row.name} again" for run in runs])
    assert study.main([*command, "--again"]) == 0
    assert "dab_detr again\npoints again" in capsys.readouterr().out


def test_checkpoints_are_those_of_the_evaluations_in_their_order(tmp_path):
    """A training that was stopped after 434 steps has one more."""
    for name in ("model_0000999.pth", "model_0000433.pth", "model_0000099.pth", "model_best.pth", "model_final.pth"):
        (tmp_path / name).touch()
    found = {step: path.name for step, path in checkpoints(tmp_path, range(100, 1001, 100)).items()}
    assert found == {100: "model_0000099.pth", 1000: "model_0000999.pth"}


def test_a_run_that_was_stopped_is_resumed_and_a_failed_one_is_named(tmp_path, monkeypatch):
    run = Run(ROWS["dab_detr"], Preset(), 0, tmp_path / "seed0")
    assert "--resume" not in run.arguments()
    run.folder.mkdir()
    assert "--resume" in run.arguments()
    monkeypatch.setattr(running, "train", lambda *_: 3)
    assert "failed: the training ended with status 3" in perform(run, threads=1)
    monkeypatch.setattr(running, "train", lambda *_: 0)  # as after SIGTERM
    assert "failed: the training was stopped" in perform(run, threads=1)
    assert not run.result.exists()


def test_a_run_whose_attention_was_not_measured_is_not_done(tmp_path, monkeypatch):
    """As if the study was killed after the training."""
    trains_for_real(monkeypatch)
    run = Run(ROWS["dab_detr"], smallest(tmp_path), 0, tmp_path / "cpu" / "dab_detr" / "seed0")
    with monkeypatch.context() as killed:
        killed.setattr(running, "over_training", lambda *_: 1 / 0)
        assert ": failed" in perform(run, threads=1) and not run.result.exists()
    assert ": AP" in perform(run, threads=1)
    found = json.loads(run.result.read_text())
    assert [step for step, *_ in found["curve"]] == [step for step, *_ in found["attention"]] == [2]


def test_of_two_evaluations_of_one_step_the_last_counts(tmp_path):
    lines = [{"iteration": 9, "bbox/AP": 1.0}, {"iteration": 12, "loss": 2.0}, {"iteration": 9, "bbox/AP": 3.0}]
    (tmp_path / "metrics.json").write_text("\n".join(map(json.dumps, lines)))
    assert curve(tmp_path, None) == [[10, 3.0]]


def test_the_evaluation_at_the_end_is_at_the_last_step(tmp_path):
    """Detectron2 writes it as one iteration later, beside one of the last iteration if the period falls there."""
    lines = [{"iteration": i, "bbox/AP": ap} for i, ap in ((4, 1.0), (9, 2.0), (10, 2.5))]
    (tmp_path / "metrics.json").write_text("\n".join(map(json.dumps, lines)))
    assert curve(tmp_path, 10) == [[5, 1.0], [10, 2.5]]


def test_a_result_of_another_command_does_not_count(tmp_path):
    """A budget or an override that changed makes another run."""
    short, long = (Run(ROWS["points"], Preset(steps=steps), 0, tmp_path / "a" / "points" / "seed0") for steps in (5, 9))
    elsewhere = Run(ROWS["points"], Preset(steps=5), 0, tmp_path / "b" / "a" / "points" / "seed0")
    known = [{"command": short.command}]
    assert short.is_known(known) and elsewhere.is_known(known)
    assert not long.is_known(known) and not short.is_known([])
    assert short.is_known([{"command": short.command.replace("shapes/dab_detr", "demo_shapes")}]), "its name of before"
    assert not short.is_known(known, "aaa") and short.is_known([known[0] | {"backbone": "aaa"}], "aaa")


def test_results_of_another_backbone_than_the_kept_one_are_run_again(tmp_path, monkeypatch, capsys):
    """A preset whose backbone is no trained one has no kept file."""
    docs = tmp_path / "docs" / "study"
    write_weights(docs / "backbone_dab_detr.pth", {"backbone.x": torch.ones(2)})
    kept, others = fingerprint(docs / "backbone_dab_detr.pth"), []
    for row, backbone in (("dab_detr", kept), ("points", "bbb")):
        (run, *_) = planned([ROWS[row]], PRESETS["cpu"], tmp_path / "runs" / "cpu")
        others.append(result(row, 0) | {"command": run.command, "backbone": backbone})
    (docs / "results_cpu.json").write_text(json.dumps(others))
    monkeypatch.setattr(study, "perform_all", lambda runs, jobs: [f"{run.row.name} {run.seed}" for run in runs])
    command = ["dab_detr", "points", "--output", str(tmp_path / "runs"), "--docs", str(tmp_path / "docs")]
    assert study.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("1 of 6 runs are in") and "dab_detr 0" not in lines and "points 0" in lines
    assert kept_backbone(PRESETS["photographs"], docs) is kept_backbone(PRESETS["gpu"], docs) is None


def test_results_are_collected_in_one_order(tmp_path):
    for row, seed in (("points", 1), ("dab_detr", 0), ("points", 0)):
        (tmp_path / row).mkdir(exist_ok=True)
        (tmp_path / row / f"seed{seed}.json").write_text(json.dumps(result(row, seed)))
    found = collect(tmp_path, tmp_path / "docs" / "results.json")
    assert [(x["row"], x["seed"]) for x in found] == [("dab_detr", 0), ("points", 0), ("points", 1)]
    assert json.loads((tmp_path / "docs" / "results.json").read_text()) == found
    (tmp_path / "points" / "seed0.json").unlink()
    (tmp_path / "points" / "seed1.json").write_text(json.dumps(result("points", 1, 5.0)))
    again = collect(tmp_path, tmp_path / "docs" / "results.json")
    assert [(x["row"], x["seed"]) for x in again] == [("dab_detr", 0), ("points", 0), ("points", 1)]
    assert again[2]["curve"][0] == [100, 15.0]
    (tmp_path / "points" / "seed1.json").write_text(json.dumps(result("points", 1) | {"backbone": "another"}))
    assert len(collect(tmp_path, tmp_path / "docs" / "results.json")) == 4


def test_a_result_names_the_model_of_the_processor(tmp_path, monkeypatch):
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\nmodel name\t: A Chip: 9\nprocessor : 1\nmodel name\t: Another\n")
    monkeypatch.setattr(running, "CPUINFO", info)
    assert running.processor() == "A Chip: 9"
    info.unlink()
    assert running.processor() == platform.machine()


def test_an_unknown_row_is_named(capsys):
    with pytest.raises(SystemExit) as stopped:
        study.main(["dab_detrr"])
    assert stopped.value.code == 2 and "dab_detrr" in capsys.readouterr().err


def test_attention_is_not_measured_on_photographs(tmp_path):
    """A run on photographs registers its data in its own process."""
    measured = {name: planned([ROWS["dab_detr"]], PRESETS[name], tmp_path)[0].measures_attention for name in PRESETS}
    assert measured == {"probe": True, "cpu": True, "gpu": True, "photographs": False, "coco": False}


def test_photographs_need_a_folder_and_a_command_names_only_its_last_part(tmp_path, capsys):
    for words in (["--preset", "photographs"], ["--data", str(tmp_path)]):
        with pytest.raises(SystemExit):
            study.parse(words)
        assert "--preset photographs needs --data FOLDER" in capsys.readouterr().err
    args = study.parse(["--preset", "photographs", "--data", str(tmp_path / "my, cells")])
    runs = planned(list(ROWS.values()), study.chosen(args), tmp_path / "out" / "photographs")
    names = ["dab_detr", "conditional_detr", "dn_dab_detr", "dab_deformable_detr", "start_clusters"]
    assert [run.row.name for run in runs] == names * 3
    for run in runs[:5]:
        cfg = load(ROOT / run.config, run.arguments()[2:])
        assert cfg.model.backbone.name == LITE0 and cfg.dataset.root == str(tmp_path / "my, cells")
        assert str(tmp_path) not in run.command and "'dataset.root=my, cells'" in run.command


def test_ap50_by_class_is_that_of_the_last_evaluation(tmp_path):
    (tmp_path / "inference").mkdir()
    (tmp_path / "inference" / "classes.csv").write_text("id,class,objects,AP,AP50\n1,cell,3,40.1,80.25\n")
    assert classes(tmp_path) == {"cell": 80.25}
