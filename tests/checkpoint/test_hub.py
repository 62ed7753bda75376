"""Repositories of the Hugging Face hub, from a hub on this machine."""

import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub.constants
import pytest

from dab_detr.checkpoint import hub
from dab_detr.checkpoint.hub import hub_path, split_address
from serving import Hub, answering, send, use_hub

FILES = {"config.json": b"{}", "preprocessor_config.json": b"[]", "model.safetensors": b"weights" * 100}


@pytest.fixture
def server(tmp_path):
    """A hub with one repository."""
    folder = tmp_path / "hub/me/tiny"
    folder.mkdir(parents=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    with Hub(tmp_path / "hub") as server:
        yield server


@pytest.fixture
def cache(server, tmp_path, monkeypatch) -> Path:
    """The cache of huggingface_hub, empty."""
    use_hub(monkeypatch, server.address, tmp_path / "cache")
    return tmp_path / "cache"


def test_a_repository_is_downloaded_once(server, cache):
    folder = Path(hub_path("hf://me/tiny"))
    assert {x.name: x.read_bytes() for x in folder.iterdir()} == FILES
    assert hub_path("hf://me/tiny") == str(folder) and folder.is_relative_to(cache)
    assert server.requests.count("GET model.safetensors") == 1


def test_offline_the_cache_is_enough(server, cache, monkeypatch):
    folder = hub_path("hf://me/tiny")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    server.requests.clear()
    assert hub_path("hf://me/tiny") == folder and not server.requests


def test_offline_without_the_file_the_error_says_what_to_copy(cache, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(
        OSError,
        match="hf://me/tiny: the hub cannot be reached.*`hf download me/tiny --local-dir folder`.*give its path",
    ):
        hub_path("hf://me/tiny")


def test_other_weights_are_taken_if_there_are_no_safetensors(server, cache):
    repository = server.folder / "me/tiny"
    (repository / "model.safetensors").rename(repository / "pytorch_model.bin")
    assert Path(hub_path("hf://me/tiny"), "pytorch_model.bin").read_bytes() == FILES["model.safetensors"]


def test_a_file_of_a_repository_is_downloaded_alone(server, cache):
    (server.folder / "me/tiny/model_final.pth").write_bytes(b"ours")
    assert Path(hub_path("hf://me/tiny/model_final.pth")).read_bytes() == b"ours"
    assert not any("config.json" in x for x in server.requests)


@pytest.mark.parametrize(
    "lost, address, error, message",
    [
        (
            "model.safetensors",
            "hf://me/tiny",
            ValueError,
            "the repository has no model.safetensors or pytorch_model.bin",
        ),
        ("config.json", "hf://me/tiny", ValueError, "the repository has no config.json"),
        (None, "hf://me/none", OSError, "no such repository, or it needs a login"),
        (None, "hf://me", ValueError, "write hf://owner/repository"),
        (None, "hf://me/tiny/none.pth", ValueError, "the repository has no none.pth"),
    ],
)
def test_what_is_missing_is_named(lost, address, error, message, server, cache):
    if lost:
        (server.folder / "me/tiny" / lost).unlink()
    with pytest.raises(error, match=f"{address}: .*{message}"):
        hub_path(address)


def test_a_server_that_sends_less_than_it_promised_is_not_believed(server, cache, monkeypatch):
    server.lie = lambda name, content: content[:-5] if name == "model.safetensors" else content
    monkeypatch.setattr("time.sleep", lambda _: None)  # between the attempts of huggingface_hub
    with pytest.raises(OSError, match="cannot download model.safetensors of hf://me/tiny: "):
        hub_path("hf://me/tiny")
    assert not list(cache.rglob("snapshots/*/model.safetensors"))


def test_a_login_page_in_place_of_the_hub_is_not_believed(cache, monkeypatch):
    page = b"<html>Sign in to the network</html>"
    with answering(lambda handler: send(handler, "text/html", page)) as address:
        use_hub(monkeypatch, address, cache)
        with pytest.raises(OSError, match="hf://me/tiny"):
            hub_path("hf://me/tiny")
    assert not list(cache.rglob("snapshots/*/*"))


def test_without_huggingface_hub_the_way_to_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ImportError, match=r"needs huggingface_hub: pip install 'dab_detr\[hub\]'"):
        hub_path("hf://me/tiny")


def test_an_address_may_name_a_revision_and_a_file():
    assert split_address("hf://me/tiny@v1.0/weights/model.pth") == ("me/tiny", "v1.0", "weights/model.pth")
    assert split_address("hf://me/tiny") == ("me/tiny", None, None)


# loads the module alone: the package would take seconds
SCRIPT = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("hub", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
print(module.hub_path("hf://me/tiny"))
"""


def test_two_processes_download_a_repository_once_from_the_endpoint_of_the_environment(server, tmp_path):
    environment = {**os.environ, "HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path / "home")}
    command = [sys.executable, "-c", SCRIPT, hub.__file__]
    processes = [subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    folders = {Path(x.communicate(timeout=60)[0].strip()) for x in processes}
    assert [x.returncode for x in processes] == [0, 0] and len(folders) == 1
    assert folders.pop().joinpath("model.safetensors").read_bytes() == FILES["model.safetensors"]
    assert server.requests.count("GET model.safetensors") == 1
