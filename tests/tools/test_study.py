"""The study: its rows exist, its runs resume, and its results are collected."""

import json
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import time

import pytest
import torch

import train_net
from benchmarks.study import __main__ as study
from benchmarks.study import results, running
from benchmarks.study.attention import checkpoints
from benchmarks.study.lite0 import LITE0
from benchmarks.study.presets import PRESETS, Preset
from benchmarks.study.results import ROOT, classes, collect, curve, seconds, write
from benchmarks.study.rows import ROWS
from benchmarks.study.running import kept_backbone, perform, perform_all
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


def test_a_row_is_compared_with_one_that_each_preset_runs_as_often():
    for row in ROWS.values():
        base = ROWS[row.base]
        assert row.coco == "" or base.coco, row.name
        assert base.core or not row.core, row.name
        assert row.photographs == "" or base.photographs, row.name


def test_no_two_rows_of_the_preset_for_coco_are_the_same_training(tmp_path):
    runs = planned(list(ROWS.values()), PRESETS["coco"], tmp_path)
    assert len({(run.config, run.row.overrides) for run in runs}) == len(runs)


def test_core_rows_have_more_seeds_and_all_first_seeds_come_first(tmp_path):
    runs = planned([ROWS["dab_detr"], ROWS["points"], ROWS["two_stage"]], Preset(seeds=1, core_seeds=3), tmp_path)
    names = ["dab_detr", "points", "two_stage", "dab_detr", "points", "dab_detr", "points"]
    assert [run.row.name for run in runs] == names
    assert [run.seed for run in runs] == [0, 0, 0, 1, 1, 2, 2]


def test_more_seeds_can_be_asked_for(tmp_path):
    runs = planned([ROWS["dab_detr"], ROWS["two_stage"]], Preset(seeds=1, core_seeds=3), tmp_path, 4)
    assert [run.seed for run in runs] == [0, 0, 1, 1, 2, 2, 3, 3]


def test_a_longer_row_has_a_multiple_of_the_steps(tmp_path):
    run, *_ = planned([ROWS["detr_long"]], Preset(steps=50, evaluations=5), tmp_path)
    assert "train.max_iter=200" in run.arguments() and "train.eval_period=40" in run.arguments()


def test_two_rows_are_trained_for_real_and_not_again(tmp_path, monkeypatch, capsys):
    calls = trains_for_real(monkeypatch)
    monkeypatch.setitem(PRESETS, "cpu", smallest(tmp_path))
    command = ["dab_detr", "no_update", "--output", str(tmp_path / "runs"), "--docs", str(tmp_path / "docs")]
    assert study.main(command) == 0
    page = (tmp_path / "docs" / "study.md").read_bytes()
    assert b"no anchor update" in page and len(calls) == 2
    assert study.main(command) == 0 and len(calls) == 2
    assert "2 of 2 runs are in" in capsys.readouterr().out
    assert (tmp_path / "docs" / "study.md").read_bytes() == page
    stored = json.loads((tmp_path / "docs" / "study" / "results_cpu.json").read_text())
    assert [x["row"] for x in stored] == ["dab_detr", "no_update"]
    assert "--resume" not in stored[0]["command"] and str(tmp_path / "runs") not in stored[0]["command"]
    ((step, share, number),) = stored[0]["attention"]
    assert step == 2 and 0 < share <= 1 <= number and "attention" not in stored[1]
    shutil.rmtree(tmp_path / "runs" / "cpu")
    assert study.main(command) == 0 and len(calls) == 2, "the page's results are enough"
    assert (tmp_path / "docs" / "study.md").read_bytes() == page
    assert study.main([*command, "--again", "--page"]) == 0 and len(calls) == 2
    assert study.main([*command[1:], "--again"]) == 0 and len(calls) == 3
    assert "1 of 1 runs" not in capsys.readouterr().out
    assert not (tmp_path / "runs" / "cpu" / "no_update" / "before1_seed0").exists(), "there was nothing to set aside"
    assert study.main([*command[1:], "--again"]) == 0 and len(calls) == 4
    aside = tmp_path / "runs" / "cpu" / "no_update"
    assert (aside / "before1_seed0" / "model_final.pth").is_file() and (aside / "before1_seed0.json").is_file()
    assert (aside / "seed0" / "model_final.pth").is_file() and "--resume" not in calls[-1]


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


def test_a_stopped_training_of_another_command_is_set_aside(tmp_path, monkeypatch):
    """With a budget or overrides that changed in between, it cannot go on."""
    monkeypatch.setattr(running, "train", lambda arguments, *_: 3)
    short, long = (Run(ROWS["points"], Preset(steps=steps), 0, tmp_path / "points" / "seed0") for steps in (5, 9))
    perform(short, threads=1)
    short.folder.mkdir()
    (short.folder / "model_0000001.pth").touch()
    perform(short, threads=1)
    assert short.folder.is_dir()
    perform(long, threads=1)
    assert not long.folder.is_dir() and (tmp_path / "points" / "before1_seed0" / "model_0000001.pth").is_file()
    long.folder.mkdir()
    write(long.result, {"command": "another"})
    perform(long, threads=1)
    assert (tmp_path / "points" / "before2_seed0.json").is_file() and not long.result.exists()


def test_a_training_that_another_machine_finished_is_only_collected(tmp_path, monkeypatch, capsys):
    """`--commands` prints what torchrun or Slurm trains."""
    monkeypatch.setitem(PRESETS, "gpu", smallest(tmp_path))
    command = ["dab_detr", "--preset", "gpu", "--output", str(tmp_path / "runs"), "--docs", str(tmp_path / "docs")]
    capsys.readouterr()
    assert study.main([*command, "--commands"]) == 0
    python, program, *arguments = shlex.split(capsys.readouterr().out)
    assert (python, program) == ("python", "train_net.py")
    assert not (tmp_path / "docs").exists() and train_net.main(arguments) == 0
    monkeypatch.setattr(running, "train", lambda *_: 1 / 0)
    assert study.main(command) == 0
    (found,) = json.loads((tmp_path / "docs" / "study" / "results_gpu.json").read_text())
    assert found["row"] == "dab_detr" and found["seconds"] >= 0
    assert (tmp_path / "docs" / "study_gpu.md").is_file() and (tmp_path / "docs" / "study_gpu").is_dir()
    assert not (tmp_path / "docs" / "study.md").exists(), "that is the page of the preset cpu"


def test_without_the_row_that_others_are_compared_with_there_is_no_page_yet(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(study, "perform_all", lambda runs, **_: [])
    monkeypatch.setattr(study, "provide_backbone", lambda *_, **__: None)
    assert study.main(["points", "--output", str(tmp_path / "runs"), "--docs", str(tmp_path / "docs")]) == 0
    assert "no page yet: it needs the row dab_detr" in capsys.readouterr().out
    assert not (tmp_path / "docs" / "study.md").exists()


def test_the_time_of_a_training_has_all_its_parts(tmp_path):
    """A step that a resumed training repeats counts once, evaluations not at all."""
    lines = [{"iteration": 9, "time": 2.0}, {"iteration": 19, "time": 1.0}, {"iteration": 19, "time": 3.0}, {"loss": 1}]
    (tmp_path / "metrics.json").write_text("\n".join(map(json.dumps, lines)))
    assert seconds(tmp_path) == 10 * 2 + 10 * 3


def test_jobs_share_the_gpus(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    monkeypatch.setattr(running, "perform", lambda run, gpu, **_: seen.append(gpu) or time.sleep(0.05))
    runs = planned([ROWS[name] for name in ("dab_detr", "points", "two_stage")], Preset(core_seeds=1), tmp_path)
    list(perform_all(runs, jobs=2))
    assert set(seen) == {"3", "5"} and len(seen) == 3
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    seen.clear()
    monkeypatch.setattr(running.torch.cuda, "device_count", lambda: 0)
    list(perform_all(runs, jobs=1))
    assert seen == [None] * 3


STUDY = """
import signal, sys
from benchmarks.study import __main__ as study, results, running
from pathlib import Path
running.ROOT = Path(sys.argv[1])
study.provide_backbone = lambda *_, **__: None
signal.signal(signal.SIGTERM, study.stop)
sys.exit(study.main(["dab_detr", "points", *sys.argv[2:]]))
"""
TRAINING = """
import pathlib, signal, sys, time
begun = pathlib.Path(__file__).parent
(begun / f"begun{len(list(begun.glob('begun*')))}").touch()
signal.signal(signal.SIGTERM, lambda *_: (begun / "saved").touch() or sys.exit(0))
time.sleep(60)
"""


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_a_stopped_study_stops_its_training_and_begins_no_other(sent, tmp_path):
    """A stand-in for train_net.py saves at SIGTERM, as the real one does."""
    (tmp_path / "train_net.py").write_text(TRAINING)
    words = ["--output", str(tmp_path / "runs"), "--docs", str(tmp_path / "docs")]
    with subprocess.Popen([sys.executable, "-c", STUDY, str(tmp_path), *words], cwd=ROOT) as running_study:
        deadline = time.monotonic() + 60
        while not (tmp_path / "begun0").exists() and time.monotonic() < deadline:
            time.sleep(0.1)
        time.sleep(0.5)  # until its handler is set
        running_study.send_signal(sent)
        assert running_study.wait(30) == 130
    assert (tmp_path / "saved").exists() and not (tmp_path / "begun1").exists()


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
    monkeypatch.setattr(study, "perform_all", lambda runs, **_: [f"{run.row.name} {run.seed}" for run in runs])
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
    (tmp_path / "points" / "before1_seed2.json").write_text(json.dumps(result("points", 2)))  # was set aside
    assert len(collect(tmp_path, tmp_path / "docs" / "results.json")) == 3


def test_a_result_names_the_model_of_the_processor(tmp_path, monkeypatch):
    info = tmp_path / "cpuinfo"
    info.write_text("processor : 0\nmodel name\t: A Chip: 9\nprocessor : 1\nmodel name\t: Another\n")
    monkeypatch.setattr(results, "CPUINFO", info)
    assert results.processor() == "A Chip: 9"
    info.unlink()
    assert results.processor() == platform.machine()


def test_an_unknown_row_is_named(capsys):
    with pytest.raises(SystemExit) as stopped:
        study.main(["dab_detrr"])
    assert stopped.value.code == 2 and "dab_detrr" in capsys.readouterr().err


def test_attention_is_not_measured_on_photographs(tmp_path):
    """A run on photographs registers its data in its own process."""
    measured = {name: planned([ROWS["dab_detr"]], PRESETS[name], tmp_path)[0].measures_attention for name in PRESETS}
    assert measured == {"probe": True, "cpu": True, "gpu": True, "photographs": False, "coco": False}


def test_photographs_need_a_folder_and_a_command_names_only_its_last_part(tmp_path, capsys):
    for words in (["--jobs", "0"], ["--seeds", "0"]):
        with pytest.raises(SystemExit):
            study.parse(words)
        assert "--jobs and --seeds must be 1 or more" in capsys.readouterr().err
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
