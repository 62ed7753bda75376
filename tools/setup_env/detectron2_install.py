"""Installs Detectron2: upstream's pinned commit, otherwise the patched release 0.5 of the package index."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from . import detectron2_patch
from .environment import ROOT, Environment, SetupError, say
from .machine import no_answer, no_compiler

LOCK = ROOT / "requirements.lock"
COMMIT = "02b5c4e295e990042a714712c21dc79b731e8833"
GITHUB = f"https://github.com/facebookresearch/detectron2/archive/{COMMIT}.zip"
SDIST = "detectron2-cdo==0.5 --hash=sha256:53c9e79e9cc943e80419c588ea44b5479507a8628ed14a4e06bd093e29311b18"


def install_detectron2(environment: Environment, wish: str | None) -> None:
    """Install Detectron2 from `github` or `index` as requested, otherwise from the first that works here.

    Raises SetupError if neither works, or if the requested one does not.
    """
    if wish != "index":
        obstacle = no_compiler() or no_answer(GITHUB)
        if not obstacle:
            try:
                install_from_github(environment)
                return
            except SetupError as error:
                obstacle = str(error)
        if wish == "github":
            raise SetupError(f"detectron2 cannot be installed from GitHub: {obstacle}")
        say(f"detectron2 cannot be installed from GitHub: {obstacle}")
    install_from_index(environment)


def install_from_github(environment: Environment) -> None:
    what = f"detectron2, commit {COMMIT[:7]} from GitHub, compiled here (minutes)"
    arguments = ("--no-build-isolation", "--retries", "1", "-c", str(LOCK), GITHUB)
    environment.pip(what, "install", *arguments)


def install_from_index(environment: Environment) -> None:
    """Install release 0.5 from the package index with patched source, because the original cannot be installed."""
    say("detectron2 is taken from the package index: its release 0.5, made importable. It lacks")
    for lack in detectron2_patch.LACKS:
        say(f"  - {lack}")
    with tempfile.TemporaryDirectory(dir=environment.path) as name:
        folder = Path(name)
        pinned = folder / "pinned.txt"
        pinned.write_text(SDIST + "\n")
        arguments = ("--no-deps", "--no-build-isolation", "--no-binary", ":all:")
        arguments += ("--require-hashes", "-r", str(pinned), "-d", name)
        environment.pip("detectron2 0.5, download (sha256 checked)", "download", *arguments)
        shutil.unpack_archive(next(folder.glob("*.tar.gz")), folder)
        source = folder / "detectron2_cdo-0.5"
        detectron2_patch.patch(source)
        arguments = ("--no-build-isolation", "-c", str(LOCK), str(source))
        environment.pip("detectron2 0.5, patch and install", "install", *arguments)
