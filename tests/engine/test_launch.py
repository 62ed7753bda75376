"""Starting processes: what cannot be is said, and torchrun's train, evaluate and go on in another number."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import train_net
from dab_detr.engine import launch
from dab_detr.engine.launch import VARIABLES, check_processes, prepare
from tiny import LAZY, YAML, arguments, lazy_opts, yaml_opts

TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", train_net.__file__]


@pytest.mark.parametrize("gpus, on_cpu, processes, machines", [(0, False, 1, 1), (0, True, 2, 2), (2, False, 2, 4)])
def test_processes_that_can_be(gpus, on_cpu, processes, machines, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(launch, "LAUNCHES_ON_CPU", on_cpu)
    check_processes(processes, machines)


@pytest.mark.parametrize("gpus, on_cpu, processes, machines", [(0, False, 2, 1), (0, False, 1, 2), (1, True, 2, 1)])
def test_processes_that_cannot_be(gpus, on_cpu, processes, machines, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(launch, "LAUNCHES_ON_CPU", on_cpu)
    with pytest.raises(ValueError, match=f"--num-gpus {processes}"):
        check_processes(processes, machines)


def environment(monkeypatch, **changes) -> None:
    values = dict(zip(VARIABLES, ("0", "2", "0", "2", "localhost", "29500"), strict=True)) | changes
    for name, value in values.items():
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)


def test_what_torchrun_has_not_said(monkeypatch):
    environment(monkeypatch, MASTER_ADDR=None, LOCAL_RANK=None)
    with pytest.raises(ValueError, match=r"\['LOCAL_RANK', 'MASTER_ADDR'\] are not"):
        prepare(arguments("--config-file", LAZY))


def test_processes_are_started_once(monkeypatch):
    environment(monkeypatch)
    with pytest.raises(ValueError, match="leave out --num-gpus"):
        prepare(arguments("--config-file", LAZY, "--num-gpus", 2))


def test_more_processes_than_gpus(monkeypatch):
    environment(monkeypatch)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match="2 processes are started on this machine, which has 1 GPUs"):
        prepare(arguments("--config-file", LAZY))


@pytest.mark.parametrize("way", ["lazy", "yaml"])
def test_torchrun_trains_evaluates_and_one_process_goes_on(way, tmp_path):
    config, opts = (LAZY, lazy_opts(tmp_path)) if way == "lazy" else (YAML, yaml_opts(tmp_path))
    run = subprocess.run(
        [*TORCHRUN, "--config-file", str(config), *opts],
        capture_output=True,
        text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )
    assert run.returncode == 0, run.stderr
    output = tmp_path / "output"
    for rank, name in enumerate(("log.txt", "log.txt.rank1")):
        assert f"Rank of current process: {rank}. World size: 2" in Path(output, name).read_text()
    assert "bbox/AP" in Path(output, "metrics.json").read_text()
    longer = ["train.max_iter=6"] if way == "lazy" else ["SOLVER.MAX_ITER", "6"]
    train_net.train(arguments("--config-file", config, "--resume", *opts, *longer))
    log = Path(output, "log.txt").read_text()
    assert "Starting training from iteration 4" in log
    assert "not be bit-identical to an uninterrupted one (processes: 2, now 1)" in log
