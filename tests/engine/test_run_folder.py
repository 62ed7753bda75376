"""An output folder belongs to one run at a time, and no run destroys another."""

import os
import subprocess
import sys

import pytest
from omegaconf import OmegaConf

import train_net
from dab_detr.engine import run_folder
from dab_detr.engine.run_folder import LOCK, RUN_FILES, claim, inputs_of, release
from tiny import LAZY, lazy_opts


@pytest.fixture
def folder(tmp_path):
    yield str(tmp_path / "output")
    release(str(tmp_path / "output"))


def fill(folder: str, *names: str) -> None:
    for name in names:
        path = os.path.join(folder, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as file:
            file.write(name)


@pytest.mark.parametrize("name", ["last_checkpoint", "metrics.json", "model_0000099.pth", "model_best.pth"])
def test_a_folder_with_a_training_is_refused_with_three_ways_out(folder, name):
    fill(folder, name)
    with pytest.raises(ValueError, match=rf"holds a training \({name}\).*train\.output_dir.*--resume.*--overwrite"):
        claim(folder, resume=False, overwrite=False)
    claim(folder, resume=True, overwrite=False)


def test_what_a_failed_command_leaves_is_no_training(folder):
    fill(folder, "config.yaml", "log.txt")
    claim(folder, resume=False, overwrite=False)
    assert sorted(os.listdir(folder)) == ["config.yaml", "log.txt", LOCK]


def test_overwrite_moves_everything_aside_and_deletes_nothing(folder):
    for number in (1, 2):
        fill(folder, "model_best.pth", "log.txt", "preview/1.png", "my_notes.txt")
        claim(folder, resume=False, overwrite=True)
        moved = os.path.join(folder, f"earlier_{number}")
        assert sorted(os.listdir(moved)) == ["log.txt", "model_best.pth", "preview"]
        assert os.path.isfile(os.path.join(moved, "preview", "1.png"))
    assert sorted(os.listdir(folder)) == ["earlier_1", "earlier_2", "my_notes.txt", LOCK]


@pytest.mark.parametrize(
    "key, name",
    [("--config-file", "config.yaml"), ("train.init_checkpoint", "model_best.pth"), ("dataset.root", "dataset/x")],
)
def test_overwrite_moves_nothing_that_the_training_reads(folder, key, name):
    fill(folder, "config.yaml", "model_best.pth", "last_checkpoint", "dataset/x/train.json", "datasets/mine.txt")
    before, path = sorted(os.listdir(folder)), os.path.join(folder, name)
    with pytest.raises(
        ValueError, match=rf"--overwrite would move .*{name} \({key}\), which this training reads: copy"
    ):
        claim(folder, resume=False, overwrite=True, inputs={"other": "/nowhere/else", key: path})
    assert sorted(os.listdir(folder)) == before
    claim(folder, resume=False, overwrite=True, inputs={"dataset.root": os.path.join(folder, "datasets")})
    assert sorted(os.listdir(folder)) == ["datasets", "earlier_1", LOCK]


def test_inputs_are_those_of_the_config_that_are_files_here(tmp_path):
    fill(str(tmp_path), "config.py", "train.json", "pictures/1.png")
    train = {"annotations": str(tmp_path / "train.json"), "images": str(tmp_path / "pictures")}
    cfg = {
        "train": {"init_checkpoint": "zoo://x"},
        "dataset": {"root": None, "train": train, "val": {"images": "gone"}},
    }
    found = inputs_of(OmegaConf.create(cfg), tmp_path / "config.py")
    assert found == {
        "--config-file": str(tmp_path / "config.py"),
        "dataset.train.annotations": train["annotations"],
        "dataset.train.images": train["images"],
    }


def test_overwrite_with_resume_resumes(folder):
    fill(folder, "last_checkpoint")
    claim(folder, resume=True, overwrite=True)
    assert "last_checkpoint" in os.listdir(folder)


HOLD = """
import os, sys, time
from dab_detr.engine.run_folder import lock
lock(sys.argv[1])
if os.fork():
    print("held", flush=True)
time.sleep(20)  # the child stands for a data worker, which outlives its parent for some seconds
"""


def test_another_process_is_refused_and_told_the_owner_until_that_one_is_gone(folder):
    owner = subprocess.Popen([sys.executable, "-c", HOLD, folder], stdout=subprocess.PIPE, text=True)
    assert owner.stdout.readline() == "held\n"
    with pytest.raises(ValueError, match=rf"another training writes to .*process {owner.pid} on .* since .*-c"):
        claim(folder, resume=True, overwrite=False)
    owner.kill()  # a killed process leaves the file, and no lock
    owner.wait()
    assert os.path.exists(os.path.join(folder, LOCK))
    claim(folder, resume=True, overwrite=False)


def test_the_lock_is_gone_after_the_run_and_one_process_may_claim_twice(folder):
    claim(folder, resume=False, overwrite=False)
    claim(folder, resume=False, overwrite=False)
    release(folder)
    assert LOCK not in os.listdir(folder) and not run_folder.held


def test_disks_without_locks_are_said(folder, monkeypatch, caplog):
    def no_locks(*_):
        raise OSError(37, "No locks available")

    monkeypatch.setattr(run_folder.fcntl, "lockf", no_locks)
    claim(folder, resume=False, overwrite=False)
    assert "cannot be locked" in caplog.text


def snapshot(folder) -> dict[str, bytes]:
    return {str(x.relative_to(folder)): x.read_bytes() for x in folder.rglob("*") if x.is_file()}


def test_no_run_replaces_what_another_left(tmp_path, capsys):
    """A training, its repetition, an evaluation and a training with --overwrite in one folder. All that a training
    writes is on the list, which --overwrite moves."""
    opts = ["--config-file", str(LAZY), *lazy_opts(tmp_path), "train.eval_period=2", "train.ema.enabled=True"]
    output = tmp_path / "output"
    assert train_net.main(opts) == 0
    assert all(any(x.match(pattern) for pattern in RUN_FILES) for x in output.iterdir())
    before = snapshot(output)
    assert {"model_best.pth", "model_final.pth", "model_final_ema.pth", "metrics.json", "config.yaml"} <= before.keys()
    assert train_net.main(opts) == 2
    assert "holds a training" in capsys.readouterr().err
    assert snapshot(output) == before
    assert train_net.main(["--eval-only", *opts, f"train.init_checkpoint={output}/model_final.pth"]) == 0
    after = snapshot(output)
    assert {x for x in before if before[x] != after.get(x) and not x.startswith(("log.txt", "inference"))} == set()
    whole = snapshot(output)
    assert train_net.main(["--overwrite", *opts, f"train.init_checkpoint={output}/model_best.pth"]) == 2
    assert "would move" in capsys.readouterr().err and snapshot(output) == whole
    assert train_net.main(["--overwrite", *opts]) == 0
    kept = snapshot(output / "earlier_1")
    assert {x for x in before if before[x] != kept.get(x) and not x.startswith(("log.txt", "inference"))} == set()


def test_an_empty_metrics_json_is_that_of_a_failed_command(tmp_path):
    """For example of one whose weights could not be downloaded."""
    (tmp_path / "metrics.json").touch()
    assert run_folder.earlier_run(str(tmp_path)) is None
    (tmp_path / "metrics.json").write_text("{}")
    assert "holds a training (metrics.json)" in str(run_folder.earlier_run(str(tmp_path)))
