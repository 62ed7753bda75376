"""A virtual environment: its owner, its state, and the commands that fill it.

An environment made here holds a stamp. The stamp is empty at first and is filled in by the last step, in one rename, so
an incomplete environment is never taken for a complete one. An environment without a stamp belongs to the user, and
nothing in it is ever changed.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
OURS = ROOT / ".venv"
STAMP = "dab_detr-setup.json"
SILENCE = 30.0  # seconds without a line on the screen

ADVICE = {
    "No space left on device": "The disk is full; PIP_CACHE_DIR and TMPDIR can point elsewhere.",
    "name resolution": "The package index cannot be reached: is there a network?",
    "Failed to establish a new connection": "The package index cannot be reached.",
    "Connection refused": "The package index cannot be reached.",
    "Read timed out": "The network is too slow or broke off: run the command again.",
    "CERTIFICATE_VERIFY_FAILED": "The index's certificate is not trusted here: see PIP_CERT.",
    "No matching distribution found": "The package index has no such file for this machine.",
    "Python.h: No such file": "Python's headers are missing (Debian, Ubuntu: python3-dev).",
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
    """An error for the user. The text names the problem and the way out."""


def say(text: str) -> None:
    print(f"setup: {text}", flush=True)


def advice(log: str) -> str:
    """A plain sentence about the error in a failed command's `log`, or an empty string."""
    return next((text for sign, text in ADVICE.items() if sign in log), "")


class Environment:
    """The virtual environment in the folder `path`."""

    def __init__(self, path: Path):
        self.path = path
        self.python = str(path / "bin" / "python")
        self.log = path / "setup.log"

    def owner(self) -> str:
        """Its owner: `ours`, `theirs`, or `nobody` if there is no environment."""
        if self.path.resolve() == OURS.resolve() and (self.path / STAMP).is_file():
            return "ours"
        if self.path.exists() and not (self.path.is_dir() and not any(self.path.iterdir())):
            return "theirs"
        return "nobody"

    def read_stamp(self) -> tuple[str, str]:
        """The recipe that made it and a line about its contents. Both are empty if it is not complete."""
        try:
            stamp = json.loads((self.path / STAMP).read_text())
        except (OSError, ValueError):
            return "", ""
        return (stamp.get("recipe", ""), stamp.get("holds", "")) if os.access(self.python, os.X_OK) else ("", "")

    def write_stamp(self, recipe: str, holds: str) -> None:
        draft = self.path / f"{STAMP}.new"
        draft.write_text(json.dumps({"recipe": recipe, "holds": holds}, indent=2) + "\n")
        os.replace(draft, self.path / STAMP)

    def clear(self) -> None:
        """Empty the folder, or make it. From here on the environment is not complete."""
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / STAMP).write_text("")
        for child in self.path.iterdir():
            if child.is_dir() and not child.is_symlink():
                shutil.rmtree(child)
            elif child.name != STAMP:
                child.unlink()

    def imports(self, modules: list[str]) -> tuple[dict[str, str], str]:
        """Import each of `modules`. Return the errors by module, and the versions as one line."""
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
        """Run `command` with its output in the log. Raises SetupError if it fails.

        The screen has one line at the end, and one in every half minute before.
        """
        foreign = ("PYTHONPATH", "PYTHONHOME", "PIP_TARGET", "PIP_PREFIX", "PIP_USER")
        variables = {key: value for key, value in os.environ.items() if key not in foreign}
        start = time.monotonic()
        with self.log.open("ab") as log:
            begin = log.tell()
            process = subprocess.Popen(command, stdout=log, stderr=log, env=variables)
            try:
                while (code := finished(process, SILENCE)) is None:
                    say(f"{what}: {time.monotonic() - start:.0f} s so far; {self.log} shows what it does")
            except BaseException:  # the next run begins anew, and nothing may write beside it
                process.kill()
                process.wait()
                raise
        if code == 0:
            say(f"{what}: {time.monotonic() - start:.0f} s")
            return
        text = self.log.read_bytes()[begin:].decode(errors="replace")
        end = "\n".join(f"  | {line}" for line in text.strip().splitlines()[-12:])
        raise SetupError(f"{what}: failed\n{end}\nThe whole log: {self.log}\n{advice(text)}".strip())


def finished(process: subprocess.Popen, seconds: float) -> int | None:
    """Wait for the process. Return its exit status, or None if it still runs after so many seconds."""
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        return None
