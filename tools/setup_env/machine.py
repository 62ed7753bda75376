"""What the machine has to offer: a Python to build on, a compiler, a way to GitHub."""

from __future__ import annotations

import os
import queue
import shutil
import ssl
import subprocess
import sys
import threading
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
    """The Python to build on: the one wished for, else this one, else a supported one on PATH.

    The answer is a path that does not lead through a virtual environment, which may be the one to
    be made anew. Raises SetupError if there is no such Python, or if it lacks the module venv.
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
    """Why nothing can be compiled here, or an empty string."""
    if any(shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++")):
        return ""
    return "there is no C++ compiler (Debian, Ubuntu: build-essential)"


def no_answer(url: str, seconds: float = 5.0) -> str:
    """Why `url` does not answer within `seconds`, looking up its name included, or an empty string."""
    verdict, host = queue.SimpleQueue(), urllib.parse.urlsplit(url).hostname

    def ask():
        """Put the answer into the queue, whenever it comes."""
        try:
            urllib.request.urlopen(urllib.request.Request(url, method="HEAD"), timeout=seconds)
            verdict.put("")
        except urllib.error.URLError as error:
            # pip may well trust a certificate that this Python does not.
            trusted = not isinstance(error.reason, ssl.SSLCertVerificationError)
            verdict.put(f"{host}: {error.reason}" if trusted else "")
        except Exception as error:
            verdict.put(f"{host}: {type(error).__name__}: {error}")

    threading.Thread(target=ask, daemon=True).start()
    try:
        return verdict.get(timeout=seconds)
    except queue.Empty:
        return f"{host}: no answer within {seconds:g} s"
