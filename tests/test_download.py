"""Downloads: one address is never taken for another, and a server cannot hold a run up or write where it likes."""

import re
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dab_detr import download
from dab_detr.download import cache_name, fetch, local_path
from serving import FileServer, answering, send, serving


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def files_in(folder: Path) -> list[Path]:
    """The files in a folder and below, except locks."""
    return [x for x in folder.rglob("*") if x.is_file() and x.suffix != ".lock"]


def test_equal_paths_on_two_servers_are_two_files(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model.pth").write_text(name)
    with serving(tmp_path / "one") as one, serving(tmp_path / "two") as two:
        found = [Path(local_path(f"{address}/model.pth")).read_text() for address in (one, two, one)]
    assert found == ["one", "two", "one"]


def test_a_file_is_downloaded_once(tmp_path):
    (tmp_path / "model.pth").write_text("first")
    with serving(tmp_path) as address:
        first = local_path(f"{address}/model.pth")
    assert local_path(f"{address}/model.pth") == first  # the server is gone


@given(st.text(min_size=1) | st.from_regex(r"/(\.\./)*[a-z%.?#/]*", fullmatch=True), st.text())
def test_any_url_has_a_plain_file_name_of_its_own(path, other):
    url = f"http://host/{path}"
    assert re.fullmatch(r"[a-zA-Z0-9_.-]{17,120}", cache_name(url))
    assert (cache_name(url) == cache_name(f"http://host/{other}")) == (path == other)


def test_a_url_cannot_leave_the_cache(tmp_path, cache):
    with answering(lambda handler: send(handler, "application/octet-stream", b"weights")) as address:
        path = Path(local_path(f"{address}/../../../outside/..%2f..%2fmodel.pth"))
    assert path.parent == cache / "dab_detr" and path.read_bytes() == b"weights"
    assert files_in(tmp_path) == [path]


def test_a_login_page_is_refused_and_not_kept(cache):
    with (
        answering(lambda handler: send(handler, "text/html; charset=utf-8", b"<html>")) as address,
        pytest.raises(OSError, match=rf"cannot download {address}/model.pth: the server sends a web page"),
    ):
        local_path(f"{address}/model.pth")
    assert not files_in(cache)


def test_a_download_that_ends_early_is_refused_and_not_kept(cache):
    with (
        answering(lambda handler: send(handler, "application/octet-stream", b"half", length=8)) as address,
        pytest.raises(OSError, match="cannot download .*after 4 of 8 bytes"),
    ):
        local_path(f"{address}/model.pth")
    assert not files_in(cache)


def test_a_silent_server_is_given_up(monkeypatch):
    monkeypatch.setattr(download, "TIMEOUT", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}"
        with pytest.raises(OSError, match=rf"cannot download {address}/model.pth: .*timed out"):
            local_path(f"{address}/model.pth")


@pytest.mark.parametrize("url", ["http://", "http://[", "http://host:port/x", "https://127.0.0.1:1/x"])
def test_an_address_that_is_none_is_named(url):
    with pytest.raises(OSError, match=re.escape(f"cannot download {url}: ")):
        local_path(url)


def test_without_network_the_way_out_is_told(monkeypatch):
    def offline(*args):
        raise OSError("Name or service not known")

    monkeypatch.setattr(download, "urlopen", lambda *args, **kwargs: offline())
    monkeypatch.setattr(download.PathManager, "get_local_path", offline)
    for address in ("https://example.com/model.pth", "detectron2://ImageNetPretrained/torchvision/R-50.pkl"):
        with pytest.raises(
            OSError, match=f"cannot download {address}: Name or .*known; on a machine without a network, c"
        ):
            local_path(address)


CONTENT = bytes(range(256)) * 40


@pytest.fixture
def interrupted(tmp_path):
    """A server whose first download broke off in the middle, and the path that it was to be saved to."""
    with FileServer(CONTENT, stops_at=5000) as server:
        path = tmp_path / "model.pth"
        with pytest.raises(OSError, match="the download ended after 5000 of 10240 bytes"):
            fetch(server.address, path)
        assert not path.exists()
        yield server, path


def test_a_download_continues_where_it_was_interrupted(interrupted):
    server, path = interrupted
    server.stops_at = None
    fetch(server.address, path)
    assert path.read_bytes() == CONTENT
    assert [x.get("Range") for x in server.requests] == [None, "bytes=5000-"]
    assert files_in(path.parent) == [path]


def test_a_download_starts_again_if_the_file_has_changed(interrupted):
    server, path = interrupted
    server.content, server.etag, server.stops_at = CONTENT[::-1], '"second"', None
    fetch(server.address, path)
    assert path.read_bytes() == CONTENT[::-1]


def test_a_server_may_ignore_that_a_download_continues(interrupted):
    server, path = interrupted
    server.ranges, server.stops_at = False, None
    fetch(server.address, path)
    assert path.read_bytes() == CONTENT


def test_a_server_that_continues_elsewhere_is_refused_and_the_next_download_starts_again(interrupted):
    server, path = interrupted
    server.shift, server.stops_at = 7, None
    with pytest.raises(OSError, match="cannot continue the last download"):
        fetch(server.address, path)
    fetch(server.address, path)
    assert path.read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file_is_discarded(interrupted):
    server, path = interrupted
    path.with_name("model.pth.incomplete").write_bytes(CONTENT * 2)
    server.stops_at = None
    fetch(server.address, path)
    assert path.read_bytes() == CONTENT


def test_a_web_page_is_refused_whatever_its_type(tmp_path):
    page = b"\n<!DOCTYPE html><title>Sign in</title>"
    with FileServer(page) as server, pytest.raises(OSError, match="a web page, not a file; it may require a login"):
        fetch(server.address, tmp_path / "model.pth")
    assert not files_in(tmp_path)


def test_a_file_that_the_check_refuses_is_not_kept(tmp_path):
    def check(path):
        raise OSError(f"{len(path.read_bytes())} wrong bytes")

    with FileServer(CONTENT) as server, pytest.raises(OSError, match="10240 wrong bytes"):
        fetch(server.address, tmp_path / "model.pth", check)
    assert not files_in(tmp_path)


# loads the module alone, without what it needs for other addresses: the package would take seconds
DOWNLOAD = """
import importlib.util, pathlib, sys, types
sys.modules["detectron2.utils.file_io"] = types.SimpleNamespace(PathManager=None)
sys.modules["fvcore.common.file_io"] = types.SimpleNamespace(get_cache_dir=None)
spec = importlib.util.spec_from_file_location("download", sys.argv[1])
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
pathlib.Path(sys.argv[2] + f".started{sys.argv[4]}").touch()
module.download(sys.argv[3], pathlib.Path(sys.argv[2]))
"""


def test_two_processes_download_a_file_once(tmp_path):
    path = tmp_path / "model.pth"

    def wait_for_both():
        while len(list(tmp_path.glob("*.started*"))) < 2:
            time.sleep(0.01)
        time.sleep(0.1)

    with FileServer(CONTENT, before=wait_for_both) as server:
        command = [sys.executable, "-c", DOWNLOAD, download.__file__, str(path), server.address]
        processes = [subprocess.Popen([*command, str(i)]) for i in range(2)]
        assert [x.wait(60) for x in processes] == [0, 0]
    assert path.read_bytes() == CONTENT and len(server.requests) == 1
