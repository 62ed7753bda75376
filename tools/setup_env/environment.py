"""A virtual environment: whose it is, how far it is made, and the commands that fill it.

An environment made here holds a state file: empty from the first moment on, filled in as the last
step of all. So a half-made environment is never taken for a whole one, and an environment without
the file is the user's own, in which nothing is ever changed.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = ROOT / ".venv"
STATE = "dab_detr-setup.json"

ADVICE = {
    "No space left on device": "The disk is full; PIP_CACHE_DIR and TMPDIR can point elsewhere.",
    "name resolution": "The package index cannot be reached: is there a network?",
    "Failed to establish a new connection": "The package index cannot be reached.",
    "Connection refused": "The package index cannot be reached.",
    "Read timed out": "The network is too slow or broke off: run the command again.",
    "CERTIFICATE_VERIFY_FAILED": "The index's certificate is not trusted here: see PIP_CERT.",
    "DO NOT MATCH THE HASHES": "What was downloaded is not the pinned file.",
    "No matching distribution found": "The package index has no such file for this machine.",
    "Python.h: No such file": "Python's headers are missing (Debian, Ubuntu: python3-dev).",
    "mismatches the version that was used": "The CUDA toolkit and torch have different versions.",
    "Killed signal": "The compiler ran out of memory; MAX_JOBS=1 in the environment needs less.",
}

IMPORT_EACH = """
import importlib, json, platform, sys
failed = {}
for name in sys.argv[1:]:
    try:
        importlib.import_module(name)
    except Exception as error:
        failed[name] = f"{type(error).__name__}: {error}"
versions = {"Python": platform.python_version()}
for name in ("torch", "detectron2"):
    if name in sys.modules:
        versions[name] = getattr(sys.modules[name], "__version__", "?")
print(json.dumps([failed, versions]))
"""


class SetupError(Exception):
    """Something the user has to know; the text says what it is, and the way out."""


def say(text: str) -> None:
    print(f"setup: {text}", flush=True)


def advice(log: str) -> str:
    """A plain sentence on what went wrong in a failed command's `log`, or an empty string."""
    return next((text for sign, text in ADVICE.items() if sign in log), "")


class Environment:
    """The virtual environment in the folder `path`.

    Commands inherit the open file `held`, the lock of `alone`: should only this script be killed,
    the next one waits until they have ended too.
    """

    def __init__(self, path: Path, held: int | None = None):
        self.path = path
        self.python = str(path / "bin" / "python")
        self.log = path / "setup.log"
        self.held = () if held is None else (held,)

    def owner(self) -> str:
        """Whose it is: `ours`, `theirs`, or `nobody` where there is none."""
        if self.path.resolve() == OURS.resolve() and (self.path / STATE).is_file():
            return "ours"
        if self.path.exists() and not (self.path.is_dir() and not any(self.path.iterdir())):
            return "theirs"
        return "nobody"

    def read_state(self) -> dict[str, str]:
        """What the last set-up wrote; empty if it did not end, or if the Python is gone."""
        try:
            state = json.loads((self.path / STATE).read_text())
        except (OSError, ValueError):
            return {}
        return state if os.access(self.python, os.X_OK) else {}

    def write_state(self, state: dict[str, str]) -> None:
        draft = self.path / f"{STATE}.new"
        draft.write_text(json.dumps(state, indent=2) + "\n")
        os.replace(draft, self.path / STATE)

    def clear(self) -> None:
        """Empty the folder, or make it; from here on the environment counts as half made."""
        self.path.mkdir(parents=True, exist_ok=True)
        self.write_state({})
        for child in self.path.iterdir():
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            elif child.name != STATE:
                child.unlink()

    def imports(self, modules: list[str]) -> tuple[dict[str, str], str]:
        """Import each of `modules`: the errors by module, and the versions found as one line."""
        command = [self.python, "-c", IMPORT_EACH, *modules]
        answer = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        try:
            failed, versions = json.loads(answer.stdout.splitlines()[-1])
        except (IndexError, ValueError):
            raise SetupError(f"{self.python} does not run:\n{answer.stderr.strip()}") from None
        return failed, ", ".join(f"{name} {version}" for name, version in versions.items())

    def pip(self, what: str, command: str, *arguments: str) -> None:
        """Run pip's `command` as `run` does."""
        options = ("--disable-pip-version-check", "--no-input", "--progress-bar", "off")
        self.run(what, self.python, "-m", "pip", command, *options, *arguments)

    def run(self, what: str, *command: str) -> None:
        """Run `command` behind one line on the screen, its output in the log; may raise SetupError."""
        start = time.monotonic()
        with self.log.open("ab") as log:
            begin = log.tell()
            code = self._wait(what, command, log)
        seconds = time.monotonic() - start
        if code == 0:
            say(f"{what}: {seconds:.0f} s")
            return
        text = self.log.read_bytes()[begin:].decode(errors="replace")
        end = "\n".join(f"  | {line}" for line in text.strip().splitlines()[-12:])
        raise SetupError(f"{what}: failed\n{end}\nThe whole log: {self.log}\n{advice(text)}".strip())

    def _wait(self, what: str, command: tuple[str, ...], log) -> int:
        """Run `command` to its end, counting the seconds on a terminal; its exit code."""
        foreign = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_USER")
        variables = {key: value for key, value in os.environ.items() if key not in foreign}
        start = time.monotonic()
        process = subprocess.Popen(command, stdout=log, stderr=log, env=variables, pass_fds=self.held)
        try:
            while process.poll() is None:
                if sys.stdout.isatty():
                    seconds = time.monotonic() - start
                    print(f"\r\033[Ksetup: {what} ... {seconds:.0f} s", end="", flush=True)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=1)
        except KeyboardInterrupt:
            process.terminate()
            process.wait()
            raise
        finally:
            if sys.stdout.isatty():
                print("\r\033[K", end="", flush=True)
        return process.returncode
