"""The main job, by both kinds of config: train, evaluate, be killed, go on; and what a user may get wrong."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

import train_net
from coco_files import content, write
from dab_detr.compat import LAUNCHES_ON_CPU
from tiny import LAZY, YAML, arguments, lazy_opts, yaml_opts

WAYS = {"lazy": (LAZY, lazy_opts), "yaml": (YAML, yaml_opts)}
LIMIT = {"lazy": ["train.max_iter={}"], "yaml": ["SOLVER.MAX_ITER", "{}"]}


def limited(way: str, iterations: int) -> list[str]:
    return [x.format(iterations) for x in LIMIT[way]]


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "output/metrics.json").read_text().splitlines()]


def command(*args) -> list[str]:
    return [sys.executable, train_net.__file__, *map(str, args)]


@pytest.mark.parametrize("way", WAYS)
def test_trains_evaluates_and_tells(way, tmp_path):
    config, opts = WAYS[way]
    train_net.train(arguments("--config-file", config, *opts(tmp_path)))
    output = tmp_path / "output"
    last = metrics(tmp_path)
    merged = {key: value for line in last for key, value in line.items()}
    assert {"total_loss", "loss_ce", "loss_ce_0", "loss_bbox", "loss_giou", "lr", "class_error"} <= set(merged)
    assert {"bbox/AP", "bbox/AP50", "bbox/AP-class 0", "bbox/AP-class 2"} <= set(last[-1])
    log = (output / "log.txt").read_text()
    for told in (
        "eta: ",
        "iter: 3",
        "total_loss: ",
        "lr: ",
        "max_mem: ",
        "Per-category bbox AP",
        "The data has 3 class",
    ):
        assert told in log
    for written in ("model_final.pth", "config.yaml", "curves.png", "preview/contact_sheet.png"):
        assert (output / written).is_file()
    assert list(output.glob("events.out.tfevents*"))
    assert torch.load(output / "model_final.pth")["model"]["decoder.class_heads.0.weight"].shape == (3, 32)


@pytest.mark.parametrize("way", WAYS)
def test_evaluates_a_checkpoint_as_training_did(way, tmp_path):
    config, opts = WAYS[way]
    opts = opts(tmp_path)
    trained = train_net.train(arguments("--config-file", config, *opts))
    results = train_net.train(arguments("--config-file", config, "--eval-only", "--resume", *opts))
    assert results["bbox"] == pytest.approx(trained["bbox"], nan_ok=True)
    written = {key.removeprefix("bbox/"): value for key, value in metrics(tmp_path)[-1].items() if "bbox/" in key}
    assert results["bbox"] == pytest.approx(written, nan_ok=True)


@pytest.mark.parametrize("way", WAYS)
def test_resumes_after_a_kill(way, tmp_path):
    config, opts = WAYS[way]
    opts = opts(tmp_path)
    process = subprocess.Popen(
        command("--config-file", config, *opts, *limited(way, 100_000)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "output/last_checkpoint").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = int((tmp_path / "output/last_checkpoint").read_text()[len("model_") : -len(".pth")]) + 1
    train_net.train(arguments("--config-file", config, "--resume", *opts, *limited(way, done + 3)))
    assert f"Starting training from iteration {done}" in (tmp_path / "output/log.txt").read_text()
    state = torch.load(tmp_path / "output/model_final.pth")
    steps = {x["step"].item() for x in optimizer_state(state["trainer"])["state"].values()}
    assert state["iteration"] == done + 2
    assert steps == {done + 3}


def optimizer_state(trainer: dict) -> dict:
    return trainer["optimizer"] if "optimizer" in trainer else trainer["_trainer"]["optimizer"]


@pytest.mark.parametrize("way", WAYS)
def test_resuming_what_is_finished_only_evaluates(way, tmp_path):
    config, opts = WAYS[way]
    opts = opts(tmp_path)
    for flags in ([], ["--resume"]):
        train_net.train(arguments("--config-file", config, *flags, *opts))
    steps = [x["iteration"] for x in metrics(tmp_path) if "total_loss" in x]
    assert steps[-1] == 3
    assert sum("bbox/AP" in x for x in metrics(tmp_path)) == 2


def test_runs_by_the_config_that_it_saved(tmp_path):
    opts = lazy_opts(tmp_path)
    train_net.train(arguments("--config-file", LAZY, *opts))
    saved = tmp_path / "output/config.yaml"
    train_net.train(arguments("--config-file", saved, f"train.output_dir={tmp_path / 'again'}"))
    first, again = (torch.load(tmp_path / name / "model_final.pth")["model"] for name in ("output", "again"))
    assert {key: value.shape for key, value in first.items()} == {key: value.shape for key, value in again.items()}


def test_several_processes_on_cpu(tmp_path):
    run = subprocess.run(
        command("--num-gpus", 2, "--dist-url", f"file://{tmp_path}/start", "--config-file", LAZY, *lazy_opts(tmp_path)),
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    if LAUNCHES_ON_CPU:
        assert run.returncode == 0, run.stderr
        assert "2 processes" in run.stdout
        assert (tmp_path / "output/log.txt.rank1").is_file()
        assert "bbox/AP" in metrics(tmp_path)[-1]
    else:
        assert run.returncode == 2
        assert "--num-gpus 2: there is no GPU" in run.stderr


WRONG = {
    "misspelt": ("did you mean (train.max_iter|SOLVER.MAX_ITER)", ["train.max_iters=3"], ["SOLVER.MAX_ITERS", "3"]),
    "classes": (r"is 2, but \S+train.json has 3", ["model.num_classes=2"], ["MODEL.DAB_DETR.NUM_CLASSES", "2"]),
    "default": (r"is 80, but \S+ has 3", ["model.num_classes=80"], ["MODEL.DAB_DETR.NUM_CLASSES", "80"]),
    "micro-batches": (
        "2 images .* cannot be cut into 3 micro-batches",
        ["train.accumulate=3"],
        ["SOLVER.ACCUMULATE", "3"],
    ),
    "images": (
        r"image folder \S+none (.* )?does not exist",
        ["dataset.val.images=none"],
        ["DATASETS.TEST_IMAGES", "none"],
    ),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_wrong_is_said_at_once(way, wrong, tmp_path):
    config, opts = WAYS[way]
    message, lazy, yaml = WRONG[wrong]
    with pytest.raises(ValueError, match=message):
        train_net.train(arguments("--config-file", config, *opts(tmp_path), *(lazy if way == "lazy" else yaml)))


@pytest.mark.parametrize("way", WAYS)
def test_other_categories_in_val_are_an_error(way, tmp_path):
    config, opts = WAYS[way]
    opts = opts(tmp_path)
    write(tmp_path, "val", content(ids=(2, 3, 4)))
    with pytest.raises(ValueError, match="it looks like a shift by one"):
        train_net.train(arguments("--config-file", config, *opts))


@pytest.mark.parametrize("config", [LAZY, YAML])
def test_without_coco_the_way_out_is_said(config, tmp_path):
    output = [f"train.output_dir={tmp_path}"] if config is LAZY else ["OUTPUT_DIR", tmp_path]
    with pytest.raises(ValueError, match=r"coco_2017_train.* is not here.*dataset\.train\.annotations"):
        train_net.train(arguments("--config-file", config, *output))


def test_a_config_file_is_needed(capsys):
    assert train_net.main(["--config-file", "configs/none.py"]) == 2
    assert "configs/none.py" in capsys.readouterr().err


def test_a_misspelt_config_file_is_corrected(capsys):
    assert train_net.main(["--config-file", str(LAZY.with_name("dab_detr_r50_50epp.py"))]) == 2
    assert "; there is dab_detr_r50_50ep.py" in capsys.readouterr().err


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "output").write_text("a file")
    with pytest.raises(OSError, match="output"):
        train_net.train(arguments("--config-file", LAZY, *lazy_opts(tmp_path)))
