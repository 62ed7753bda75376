"""What the set-up finds out about the machine: a Python to build on, a way to GitHub."""

import http.server
import socket
import sys
import threading

import pytest

from tools.setup_env import machine
from tools.setup_env.environment import SetupError


def test_no_answer_of_a_silent_host_in_time():
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        assert machine.no_answer(url, seconds=0.2) != ""


def test_no_answer_of_a_closed_port_and_answer_of_an_open_one(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    handler = http.server.SimpleHTTPRequestHandler
    monkeypatch.setattr(handler, "log_message", lambda *_: None)
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        assert machine.no_answer(url) == ""
        assert "not found" in machine.no_answer(f"{url}/no/such/file")
        server.shutdown()
    assert "127.0.0.1" in machine.no_answer(url)


def fake_python(folder, name, version):
    path = folder / name
    path.write_text(f"#!/bin/sh\necho {version}\n")
    path.chmod(0o755)
    return str(path)


def test_python_that_is_too_new_or_missing_is_refused(tmp_path):
    with pytest.raises(SetupError, match=r"is Python 3\.14, .*\n.*PYTHON="):
        machine.find_python(fake_python(tmp_path, "python3.14", "3 14"))
    with pytest.raises(SetupError, match="cannot be run"):
        machine.find_python(str(tmp_path / "python3.12"))


def test_python_on_path_is_found_when_this_one_does_not_do(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", fake_python(tmp_path, "python3", "3 9"))
    expected = fake_python(tmp_path, "python3.11", "3 11")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert machine.find_python(None) == expected


def test_python_without_venv_is_refused(tmp_path):
    python = tmp_path / "python3"
    python.write_text('#!/bin/sh\ncase "$2" in *ensurepip*) exit 1;; esac\necho 3 12\n')
    python.chmod(0o755)
    with pytest.raises(SetupError, match="python3-venv"):
        machine.find_python(str(python))
