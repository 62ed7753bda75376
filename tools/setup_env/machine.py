"""Finds the Python to build on, and checks for a compiler and for a way to GitHub."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request

from .environment import SetupError

PYTHONS = ((3, 10), (3, 11), (3, 12))


def python_version(command: str) -> tuple[int, int] | None:
    """Major and minor version of the Python `command`, or None if it does not run."""
    question = "import sys; print(sys.version_info[0], sys.version_info[1])"
    try:
        answer = subprocess.run([command, "-c", question], capture_output=True, text=True, check=True)
        major, minor = answer.stdout.split()
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None
    return int(major), int(minor)


def find_python(wish: str | None) -> str:
    """The Python to build on: the requested one, otherwise this one, otherwise a supported one on PATH.

    Its path does not lead through a virtual environment, because the set-up may replace that environment. Raises
    SetupError if there is no such Python, or if it lacks the module venv.
    """
    candidates = [wish] if wish else [sys.executable, "python3.12", "python3.11", "python3.10"]
    command = next((name for name in candidates if python_version(name) in PYTHONS), None)
    if command is None:
        version = python_version(candidates[0])
        what = "is Python {}.{}".format(*version) if version else "cannot be run"
        raise SetupError(
            f"{candidates[0]} {what}, and Python 3.10, 3.11 or 3.12 is needed.\n"
            "Name one with PYTHON=, for example: make test PYTHON=python3.12"
        )
    if subprocess.run([command, "-c", "import venv, ensurepip"], capture_output=True).returncode:
        raise SetupError(
            f"{command} cannot make virtual environments: its module venv or ensurepip is missing.\n"
            "Debian and Ubuntu have them in the package python3-venv."
        )
    return os.path.realpath(shutil.which(command) or command)


def no_compiler() -> str:
    """The reason why nothing can be compiled here, or an empty string."""
    if any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")):
        return ""
    return "there is no C++ compiler (Debian, Ubuntu: build-essential)"


def no_answer(url: str, seconds: float = 5.0) -> str:
    """The reason why `url` does not answer, or an empty string."""
    host = urllib.parse.urlsplit(url).hostname
    try:
        urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds)
    except urllib.error.URLError as error:
        # pip may trust a certificate that this Python does not
        return "" if isinstance(error.reason, ssl.SSLCertVerificationError) else f"{host}: {error.reason}"
    except Exception as error:
        return f"{host}: {type(error).__name__}: {error}"
    return ""
