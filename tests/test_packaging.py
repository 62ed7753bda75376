"""setup.py and the lock file belong together."""

import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import setuptools
from detectron2.config import LazyConfig
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]


def pins(python):
    """The version of each distribution that the lock file names for this Python, on x86-64 Linux."""
    machine = {"python_version": python, "platform_machine": "x86_64"}
    found = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if line.startswith("#"):
            continue
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(machine):
            (specifier,) = requirement.specifier
            assert specifier.operator == "=="
            assert requirement.name not in found
            found[requirement.name] = specifier.version
    return found


@pytest.fixture
def arguments_of_setup(monkeypatch):
    taken = {}
    monkeypatch.setattr(setuptools, "setup", taken.update)
    monkeypatch.chdir(ROOT)
    runpy.run_path(str(ROOT / "setup.py"))
    return taken


@pytest.mark.parametrize("python", ["3.10", "3.11", "3.12"])
def test_lock_file_pins_all_that_setup_py_needs(arguments_of_setup, python):
    locked = pins(python)
    needs = arguments_of_setup["install_requires"] + arguments_of_setup["extras_require"]["test"]
    for need in map(Requirement, needs):
        assert need.specifier.contains(locked[need.name]), f"{need}, locked {locked[need.name]}"
    assert int(locked["setuptools"].split(".")[0]) < 81


def test_setup_py_finds_every_package(arguments_of_setup):
    folders = {path.parent for path in (ROOT / "projects" / "dab_detr").rglob("*.py")}
    expected = {".".join(folder.relative_to(ROOT / "projects").parts) for folder in folders}
    assert set(arguments_of_setup["packages"]) == expected | {"dab_detr.configs", "dab_detr.configs.common"}


def test_an_installed_package_has_the_configs(tmp_path):
    command = [sys.executable, "setup.py", "-q", "build_py", "--build-lib", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True)
    assert LazyConfig.load(str(tmp_path / "dab_detr/configs/dab_detr_r50_50ep.py")).model.num_classes == 80
