"""Calls of tools/predict.py."""

import pytest

import described
from tools import predict


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return described.save_lazy(tmp_path_factory.mktemp("lazy"))


@pytest.fixture
def call(checkpoint, tmp_path, monkeypatch):
    """Runs the tool in a folder of its own."""
    monkeypatch.chdir(tmp_path)

    def with_arguments(*args):
        try:
            predict.work(predict.parse(["--checkpoint", str(checkpoint), "--device", "cpu", *args]))
        except (ValueError, OSError) as error:  # as command.run prints it
            raise SystemExit(f"error: {error}") from error

    return with_arguments
