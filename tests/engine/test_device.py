"""Devices that are there, and models in several processes."""

import pytest
import torch
from torch import multiprocessing, nn
from torch.nn.parallel import DistributedDataParallel

from dab_detr.engine.device import available_device, distribute, precision_of
from dab_detr.modeling.queries import AnchorBoxQueries
from samples import random_memory


@pytest.mark.parametrize("wanted", ["cuda", "cuda:0"])
def test_cpu_where_there_is_no_cuda(wanted, monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert available_device(wanted) == "cpu"
    assert "running on the CPU" in caplog.text


@pytest.mark.parametrize("wanted, cuda", [("cuda", True), ("cpu", True), ("cpu", False), ("meta", False)])
def test_the_device_that_is_wanted(wanted, cuda, monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    assert available_device(wanted) == wanted
    assert not caplog.text


def test_what_is_no_device():
    with pytest.raises(ValueError, match="must be like cuda, cuda:1 or cpu, got 'gpu'"):
        available_device("gpu")


def test_precision(caplog):
    assert precision_of(False, "cuda") is None
    assert precision_of(True, "cuda") is torch.float16
    assert not caplog.text
    assert precision_of(True, "cpu") is None
    assert "needs CUDA" in caplog.text


def test_one_process_needs_no_wrapping():
    model = nn.Linear(1, 1)
    assert distribute(model, broadcast_buffers=False) is model


def worker(rank: int, folder: str) -> None:
    """One of two processes: a model whose weights depend on the process, until it is distributed."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/start", world_size=2, rank=rank)
    torch.manual_seed(rank)
    model = AnchorBoxQueries(num_queries=5, dim=8, fixed_xy=True)
    own = model.size.detach().clone()
    distributed = distribute(model, broadcast_buffers=False)
    distributed(random_memory([(1, 1)])).anchors.sum().backward()
    torch.save(
        {"own": own, "wrapped": isinstance(distributed, DistributedDataParallel), **model.state_dict()},
        f"{folder}/rank{rank}",
    )
    torch.distributed.destroy_process_group()


def test_all_processes_have_the_same_model(tmp_path):
    multiprocessing.spawn(worker, (str(tmp_path),), nprocs=2)
    first, second = (torch.load(tmp_path / f"rank{i}") for i in range(2))
    assert first["wrapped"] and second["wrapped"]
    assert not torch.equal(first["own"], second["own"])
    assert torch.equal(first["size"], first["own"])
    assert torch.equal(first["centre"], second["centre"]) and torch.equal(first["size"], second["size"])
