"""Several processes of a prediction, as threads here: one file as of one process, whatever was stopped and resumed."""

import argparse
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import described
from dab_detr.inference import job
from dab_detr.inference.output import Pictures
from dab_detr.inference.shares import Processes, join
from tools import predict


@dataclass(frozen=True, kw_only=True)
class Threads(Processes):
    """Processes that are threads of this one."""

    barrier: threading.Barrier
    posted: list = field(default_factory=list)

    def total(self, *numbers: int) -> list[int]:
        self.posted.append(numbers)
        try:
            self.barrier.wait(60)
            found = [sum(x) for x in zip(*self.posted, strict=True)]
            if self.barrier.wait(60) == 0:
                self.posted.clear()
            self.barrier.wait(60)
        except threading.BrokenBarrierError as error:
            raise ValueError("another process of this run has ended") from error
        return found

    def leave(self) -> None:
        if sys.exc_info()[0]:  # an error, as which a real process ends
            self.barrier.abort()


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    return described.save_lazy(tmp_path_factory.mktemp("lazy"))


@pytest.fixture
def run(checkpoint, tmp_path, monkeypatch):
    """Runs the tool on 8 images in `count` processes; returns their errors."""
    monkeypatch.chdir(tmp_path)
    for seed in range(7):
        coarse = np.random.default_rng(seed).integers(256, size=(4, 5, 3), dtype=np.uint8)
        (tmp_path / "in").mkdir(exist_ok=True)
        Image.fromarray(coarse).resize((60, 40 + 8 * (seed % 2))).save(tmp_path / f"in/{seed}.png")
    here = threading.local()
    monkeypatch.setattr(job, "join", lambda: here.processes)

    def with_arguments(count: int, *given: str) -> list[str]:
        images = [] if "--video" in given else ["in", "in/3.png"]
        args = predict.parse([*images, "--checkpoint", str(checkpoint), "--device", "cpu", *given])
        barrier, posted = threading.Barrier(count), []

        def process(rank: int) -> str:
            here.processes = Threads(rank=rank, count=count, barrier=barrier, posted=posted)
            try:
                job.run(argparse.Namespace(**vars(args)))
            except ValueError as error:
                return str(error)
            return ""

        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(process, range(count)))

    return with_arguments


@pytest.mark.parametrize("name", ["found.json", "found.jsonl"])
def test_any_number_of_processes_write_the_same_file(name, run, tmp_path, capsys):
    run(1, "--json", f"one/{name}", "--threshold", "0")
    assert run(3, "--json", f"three/{name}", "--threshold", "0") == [""] * 3
    assert [x.name for x in (tmp_path / "three").iterdir()] == [name]
    assert (tmp_path / "three" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
    one, three = (x for x in capsys.readouterr().out.splitlines() if " objects" in x)
    assert one.replace("one/", "three/") == three and "8 images with 240 objects" in one


@pytest.mark.parametrize("name", ["found.json", "found.jsonl"])
@pytest.mark.parametrize("counts", [(1, 2), (2, 1), (2, 3), (3, 2, 1)])
def test_what_some_processes_began_others_finish(name, counts, run, tmp_path):
    """Each but the last meets a picture that cannot be read, and what it found stays."""
    run(1, "--json", f"whole/{name}", "--threshold", "0")
    given = ["--json", f"parts/{name}", "--threshold", "0"]
    for number, count in enumerate(counts):
        last = number == len(counts) - 1
        bad = tmp_path / "in/5.png"
        whole = bad.read_bytes()
        if not last:
            bad.write_text("no image")
        errors = run(count, *given, *(["--resume"] if number else []))
        assert any("cannot read" in error for error in errors) != last
        bad.write_bytes(whole)
        if not last:  # a kill in the middle of a line
            for part in (tmp_path / "parts").glob("*.part-*"):
                part.write_bytes(part.read_bytes() + b'{"file_name": "in/')
    assert (tmp_path / "parts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert [x.name for x in (tmp_path / "parts").iterdir()] == [name]


def test_parts_of_a_stopped_run_are_neither_replaced_nor_mixed(run, tmp_path):
    (tmp_path / "in/5.png").write_text("no image")
    run(2, "--json", "found.json", "--threshold", "0")
    assert all("exist already" in error for error in run(2, "--json", "found.json", "--threshold", "0"))
    (found,) = run(1, "--json", "found.json", "--threshold", "0.5", "--resume")
    assert "cannot be resumed, its info differ" in found
    run(2, "--json", "found.json", "--skip-unreadable", "--overwrite")
    assert not list(tmp_path.glob("*part*"))


def test_images_that_cannot_be_read_leave_no_gap(run, tmp_path):
    (tmp_path / "in/2.png").write_text("no image")
    for count in (1, 2):
        run(count, "--json", f"{count}.json", "--threshold", "0", "--skip-unreadable")
    assert (tmp_path / "1.json").read_bytes() == (tmp_path / "2.json").read_bytes()


def test_pictures_of_shares_are_those_of_one_process(tmp_path):
    names = ["a/1.jpg", "b/1.jpg", "a/1.jpg", "2.jpg"]
    whole = Pictures(tmp_path, names)
    shares = [Pictures(tmp_path, names, share=Processes(rank=rank, count=2).share) for rank in range(2)]
    assert sorted(x for share in shares for x in share.paths()) == sorted(whole.paths())
    assert [share.names[name].popleft() for share, name in zip(shares * 2, names, strict=True)] == [
        "1.png",
        "1_1.png",
        "1_2.png",
        "2.png",
    ]


def test_a_video_is_the_work_of_one_process(run):
    assert "one process" in run(2, "--video", "x.mp4", "--json", "found.json")[0]


def test_without_torchrun_there_is_one_process(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    assert join() == Processes(rank=0, count=1)
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ValueError, match="MASTER_ADDR"):
        join()
