"""Downloads: one address is never taken for another, and a server cannot hold a run up or write where it likes."""

import re
import socket
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dab_detr import download
from dab_detr.download import cache_name, local_path
from serving import serving


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("FVCORE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@contextmanager
def answering(answer):
    """The address of a server that answers every request by `answer(handler)`."""

    class Handler(BaseHTTPRequestHandler):
        do_GET = answer

        def log_message(self, *_):
            """The tests' output stays clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def send(handler, kind: str, content: bytes, length: int | None = None) -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", kind)
    handler.send_header("Content-Length", str(len(content) if length is None else length))
    handler.end_headers()
    handler.wfile.write(content)


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
    assert [x for x in tmp_path.rglob("*") if x.is_file()] == [path]


def test_a_login_page_is_refused_and_not_kept(cache):
    with (
        answering(lambda handler: send(handler, "text/html; charset=utf-8", b"<html>")) as address,
        pytest.raises(OSError, match=rf"cannot download {address}/model.pth: the server sends a web page"),
    ):
        local_path(f"{address}/model.pth")
    assert not [x for x in cache.rglob("*") if x.is_file()]


def test_a_download_that_ends_early_is_refused_and_not_kept(cache):
    with (
        answering(lambda handler: send(handler, "application/octet-stream", b"half", length=8)) as address,
        pytest.raises(OSError, match="cannot download .*after 4 of 8 bytes"),
    ):
        local_path(f"{address}/model.pth")
    assert not [x for x in cache.rglob("*") if x.is_file()]


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
