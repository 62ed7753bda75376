"""Too little shared memory for the data workers is an error at the start, and stuck workers are one later."""

import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from dab_detr.data import loader as loader_module
from dab_detr.data.loader import TrainLoader
from dab_detr.engine import shared_memory
from dab_detr.engine.shared_memory import check_shared_memory, image_bytes

MIB = 2**20


def loader(num_workers: int, mapper=None) -> TrainLoader:
    """Images of 3 MiB, two in a batch."""
    mapper = mapper or (lambda x: {"image": torch.zeros(3, 1024, 1024, dtype=torch.uint8), "file_name": "x"})
    records = [{"file_name": str(i), "width": 1024, "height": 1024} for i in range(4)]
    return TrainLoader(dataset=records, mapper=mapper, total_batch_size=2, seed=0, num_workers=num_workers)


def test_dockers_64_mib_are_too_few_for_six_workers(monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=64 * MIB))
    check_shared_memory(loader(4))
    with pytest.raises(
        ValueError, match=r"has 64 MiB free, and 6 data workers need about 72 MiB.*num_workers=5.*shm-size"
    ):
        check_shared_memory(loader(6))
    check_shared_memory(loader(0))


def test_other_loaders_and_machines_without_the_place_are_not_checked(monkeypatch, tmp_path):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=0))
    check_shared_memory([1, 2])
    monkeypatch.setattr(shared_memory, "PLACE", tmp_path / "none")
    check_shared_memory(loader(6))


def test_bytes_of_an_image():
    assert image_bytes({"image": torch.zeros(2, 3), "mask": torch.zeros(4, dtype=torch.uint8), "n": 3}) == 28
    assert image_bytes(None) == 0


def die(record):
    import os

    os._exit(3)


def sleep(record):
    import time

    time.sleep(60)


@pytest.mark.parametrize("mapper", [die, sleep])
def test_workers_that_die_or_hang_are_named_with_the_way_out(mapper, monkeypatch):
    monkeypatch.setattr(loader_module, "TIMEOUT", 1)
    with pytest.raises(OSError, match=r"a data worker ended or gave nothing for 1 s .*num_workers.*--shm-size"):
        next(iter(loader(1, mapper)))


MOUNTED = ["unshare", "-Urm", "sh", "-c", 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$@"', "sh"]
GROWING = """
import torch
from dab_detr.data.loader import TrainLoader
from dab_detr.engine.shared_memory import check_shared_memory

def loader(side):
    image = {"image": torch.zeros(3, side, side, dtype=torch.uint8)}
    return TrainLoader(dataset=[{}] * 2, mapper=lambda _: image, total_batch_size=1, seed=0, num_workers=1)

check_shared_memory(loader(8))
print(len(next(iter(loader(8)))))
for check in (check_shared_memory, lambda large: next(iter(large))):
    try:
        check(loader(1024))
    except (OSError, ValueError) as error:
        print(str(error).splitlines()[-1])
"""


def may_mount() -> bool:
    """Whether this process may give another one a /dev/shm of its own."""
    return (
        shutil.which("unshare") is not None and not subprocess.run([*MOUNTED, "true"], capture_output=True).returncode
    )


if may_mount():

    def test_a_real_small_place_is_named_before_and_during_training():
        """Within 30 seconds: the loader does not wait for a worker that the system has killed."""
        command = [*MOUNTED, sys.executable, "-c", GROWING]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
        fits, early, late = done.stdout.splitlines()
        assert fits == "1", done.stderr
        assert "/dev/shm has 1 MiB free, and 1 data workers need about 6 MiB" in early
        assert "/dev/shm is full" in late and "--shm-size" in late
