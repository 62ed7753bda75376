"""SIGTERM, SIGUSR1 and hooks that ask: the training saves, ends cleanly, and can go on."""

import multiprocessing
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from detectron2.engine import HookBase, SimpleTrainer
from torch import distributed

import train_net
from counting import Linear
from dab_detr.checkpoint.checkpointer import DABDETRCheckpointer
from dab_detr.engine import stopping
from dab_detr.engine.loop import TrainingLoop
from dab_detr.engine.stopping import Stopped, Stopping
from tiny import LAZY, arguments, lazy_opts


class Doing(HookBase):
    """Calls a function in one step."""

    def __init__(self, step, function):
        self.step, self.function = step, function

    def after_step(self):
        if self.trainer.iter == self.step:
            self.function()


@pytest.fixture
def training(tmp_path):
    """A training of five steps, of which one runs a function; returns the trainer."""

    def run(step, function):
        model = Linear(2, 1)
        trainer = SimpleTrainer(model, [torch.ones(1, 2)] * 5, torch.optim.SGD(model.parameters(), lr=0.1))
        hook = Stopping(DABDETRCheckpointer(model, str(tmp_path), trainer=trainer))
        trainer.register_hooks([Doing(step, lambda: function(hook)), hook])
        try:
            trainer.train(0, 5)
        except Stopped:
            trainer.stopped = True
        return trainer

    return run


@pytest.mark.parametrize("number", stopping.SIGNALS)
def test_a_signal_saves_and_ends_after_the_step(number, training, tmp_path):
    before = signal.getsignal(number)
    trainer = training(2, lambda hook: os.kill(os.getpid(), number))
    assert trainer.stopped and trainer.iter == 2
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000002.pth"
    assert torch.load(tmp_path / "model_0000002.pth")["iteration"] == 2
    assert signal.getsignal(number) == before


def test_a_hook_may_ask_and_name_the_checkpoint(training, tmp_path):
    assert training(1, lambda hook: hook.ask("enough", name="model_final")).stopped
    assert (tmp_path / "model_final.pth").is_file()


def test_in_the_last_step_there_is_nothing_to_end(training):
    trainer = training(4, lambda hook: os.kill(os.getpid(), signal.SIGTERM))
    assert not hasattr(trainer, "stopped") and trainer.iter == 5


def test_a_signal_to_another_process_ends_this_one(training, monkeypatch, tmp_path):
    def other(hook):
        monkeypatch.setattr(stopping.comm, "all_gather", lambda mine: [mine, "SIGTERM came to the other"])

    trainer = training(1, other)
    assert trainer.stopped and trainer.iter == 1
    assert (tmp_path / "model_0000001.pth").is_file()


def train_in_two(rank: int, folder) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{folder}/start", rank=rank, world_size=2)
    model = Linear(2, 1)
    trainer = SimpleTrainer(model, [torch.ones(1, 2)] * 500, torch.optim.SGD(model.parameters(), lr=0.1))
    stop = Doing(rank, lambda: os.kill(os.getpid(), signal.SIGTERM) if rank == 1 else None)
    trainer.register_hooks([stop, Stopping(DABDETRCheckpointer(model, str(folder), trainer=trainer))])
    try:
        trainer.train(0, 500)
    except Stopped as stopped:
        (folder / f"rank{rank}").write_text(f"{trainer.iter} {stopped}")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_step_that_does_not_end_is_broken_off(number, training, tmp_path, monkeypatch):
    monkeypatch.setattr(stopping, "GRACE", 1)
    start = time.monotonic()
    trainer = training(2, lambda hook: os.kill(os.getpid(), number) or time.sleep(30))
    assert trainer.stopped and time.monotonic() - start < 20
    assert not list(tmp_path.glob("*.pth")) and signal.alarm(0) == 0


def test_a_second_ctrl_c_breaks_off_at_once(training):
    start = time.monotonic()
    trainer = training(2, lambda hook: [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)] + [time.sleep(30)])
    assert trainer.stopped and time.monotonic() - start < 20


def test_ctrl_c_ends_train_net_in_one_line_with_everything_saved(tmp_path, monkeypatch, capsys):
    step = TrainingLoop.run_step

    def interrupted(self):
        step(self)
        if self.iter == 1:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(TrainingLoop, "run_step", interrupted)
    assert train_net.main(["--config-file", str(LAZY), *lazy_opts(tmp_path)]) == 130
    command = f"python train_net.py --config-file {tmp_path}/output/config.yaml --resume"
    assert capsys.readouterr().err.splitlines()[-1] == f"stopped by Ctrl-C; {command} continues from here"
    assert (tmp_path / "output" / "last_checkpoint").read_text() == "model_0000001.pth"


def test_two_processes_end_after_the_same_step(tmp_path):
    processes = [multiprocessing.get_context("fork").Process(target=train_in_two, args=(i, tmp_path)) for i in (0, 1)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
        assert process.exitcode == 0
    ends = {(tmp_path / f"rank{rank}").read_text() for rank in (0, 1)}
    assert len(ends) == 1 and re.match("1 SIGTERM; python train_net.py .* --resume continues", ends.pop())
    assert torch.load(tmp_path / "model_0000001.pth")["iteration"] == 1


def test_train_net_ends_cleanly_and_goes_on(tmp_path):
    """The signal reaches the data workers too, as it does from a job scheduler."""
    opts = [*lazy_opts(tmp_path), "dataloader.num_workers=1"]
    process = subprocess.Popen(
        [sys.executable, train_net.__file__, "--config-file", str(LAZY), *opts, "train.max_iter=100000"],
        stdout=subprocess.DEVNULL,
        stderr=(tmp_path / "errors.txt").open("w"),
        start_new_session=True,
    )
    output = tmp_path / "output"
    deadline = time.monotonic() + 120
    while not (output / "last_checkpoint").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=60) == 0
    log = (output / "log.txt").read_text()
    assert "--resume continues from here" in log and "Exception" not in log
    done = torch.load(output / (output / "last_checkpoint").read_text())["iteration"] + 1
    assert f"ends after {done} iterations" in log
    assert not (output / "model_final.pth").exists()
    train_net.train(arguments("--config-file", LAZY, "--resume", *opts, f"train.max_iter={done + 1}"))
    assert f"Starting training from iteration {done}" in (output / "log.txt").read_text()


@pytest.mark.parametrize("number", set(stopping.SIGNALS) - {signal.SIGINT})
def test_the_launcher_leaves_it_to_those_that_train(number):
    before = {x: signal.getsignal(x) for x in stopping.SIGNALS}
    signal.pthread_sigmask(signal.SIG_BLOCK, [number])  # so that the child waits for it
    child = multiprocessing.get_context("fork").Process(target=lambda: sys.exit(signal.sigwait([number]) + 100))
    child.start()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [number])
    try:
        stopping.pass_signals_on()
        os.kill(os.getpid(), number)
    finally:
        for x, handler in before.items():
            signal.signal(x, handler)
    child.join(30)
    assert child.exitcode == number + 100


@pytest.mark.parametrize("training", [True, False])
def test_a_data_worker_heeds_its_parent_only(training, monkeypatch):
    """Not its group, nor anyone else; outside of a training it is like any process."""
    monkeypatch.setattr(stopping, "_training", training)
    context = multiprocessing.get_context("fork")
    ready = context.Event()

    def work():
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # whoever runs the tests may have another handler
        ready.set()
        time.sleep(60)

    worker = context.Process(target=work)
    worker.start()
    assert ready.wait(60)
    subprocess.run(["kill", "-TERM", str(worker.pid)], check=True)  # from a process that is not its parent
    worker.join(1 if training else 60)
    assert worker.is_alive() == training
    worker.terminate()
    worker.join(30)
    assert worker.exitcode == (0 if training else -signal.SIGTERM)
