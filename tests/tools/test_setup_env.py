"""The set-up: what it does in which situation, and the environment it does it to; installs nothing."""

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tools.setup_env import __main__ as setup_env
from tools.setup_env import environment
from tools.setup_env.environment import Environment, SetupError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def made(tmp_path, monkeypatch):
    """An environment of ours with this test's Python, its set-up not ended."""
    monkeypatch.setattr(environment, "OURS", tmp_path / ".venv")
    made = Environment(tmp_path / ".venv")
    made.clear()
    (made.path / "bin").mkdir()
    Path(made.python).symlink_to(sys.executable)
    return made


def test_environment_is_current_while_the_recipe_and_the_wishes_are_met(made):
    assert not setup_env.is_current(made, None, None)
    made.write_stamp(setup_env.recipe(), "Python 3.11.7, torch 2.14.1, detectron2 0.5")
    assert setup_env.is_current(made, None, None) and setup_env.is_current(made, "3.11", "index")
    assert not setup_env.is_current(made, "3.1", None) and not setup_env.is_current(made, "3.12", None)
    assert not setup_env.is_current(made, None, "github")
    made.write_stamp("another recipe", "Python 3.11.7, torch 2.14.1, detectron2 0.5")
    assert not setup_env.is_current(made, None, None)


def test_recipe_follows_the_lock_file_and_the_place(tmp_path, monkeypatch):
    lock = tmp_path / "requirements.lock"
    lock.write_text("torch==1.0\n")
    recipes = {setup_env.recipe()}
    monkeypatch.setattr(setup_env, "LOCK", lock)
    recipes.add(setup_env.recipe())
    monkeypatch.setattr(setup_env, "ROOT", tmp_path)
    (tmp_path / "setup.py").touch()
    recipes.add(setup_env.recipe())
    assert len(recipes) == 3


@pytest.fixture
def set_up(made, monkeypatch):
    """Run the command; where it would install, it only notes so."""
    steps = []

    versions = {"detectron2": "0.5"}

    def make(environment, python, detectron2):
        steps.append("make")
        versions["detectron2"] = "0.6" if detectron2 == "github" else "0.5"

    monkeypatch.setattr(setup_env, "OURS", made.path)
    monkeypatch.setattr(setup_env, "NEEDS", {"test": {"json": "json"}, "lint": {"nosuch": "no-such"}})
    monkeypatch.setattr(setup_env, "make", make)
    imports = Environment.imports
    monkeypatch.setattr(
        Environment,
        "imports",
        lambda self, names: (imports(self, names)[0], f"Python 3, detectron2 {versions['detectron2']}"),
    )

    def run(*arguments):
        steps.clear()
        monkeypatch.setattr(sys, "argv", ["setup_env", *arguments])
        return setup_env.main(), list(steps)

    return run


def test_set_up_is_done_once_and_again_after_an_interruption(set_up, made, monkeypatch):
    assert set_up() == (0, ["make"])
    assert set_up() == (0, [])
    assert set_up("--detectron2", "github") == (0, ["make"])

    def interrupted(*_):
        made.clear()
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(setup_env, "make", interrupted)
        assert set_up("--detectron2", "index") == (130, [])
    (made.path / "bin").mkdir()
    Path(made.python).symlink_to(sys.executable)
    assert set_up() == (0, ["make"])


def test_set_up_does_not_end_when_something_fails_to_import(set_up, made, monkeypatch, capsys):
    monkeypatch.setitem(setup_env.NEEDS, "test", {"no_such_module": "no-such"})
    assert set_up() == (1, ["make"])
    assert "no_such_module" in capsys.readouterr().err
    assert made.read_stamp() == ("", "")


def test_environment_of_the_user_is_only_checked(set_up, made, tmp_path, capsys):
    theirs = tmp_path / "theirs"
    (theirs / "bin").mkdir(parents=True)
    (theirs / "bin" / "python").symlink_to(sys.executable)
    before = sorted(theirs.rglob("*"))
    assert set_up("--venv", str(theirs)) == (0, [])
    assert set_up("--venv", str(theirs), "--for", "lint") == (1, [])
    error = capsys.readouterr().err
    assert "No module named 'nosuch'" in error
    assert f"{theirs}/bin/python -m pip install no-such" in error
    assert sorted(theirs.rglob("*")) == before


def test_detectron2_that_is_missing_is_named_with_what_builds_it(made, monkeypatch):
    missing = {"nosuch": "no-such", "detectron2.engine": "detectron2-from-somewhere"}
    monkeypatch.setitem(setup_env.NEEDS, "run", missing)
    imports = dict.fromkeys(missing, "ModuleNotFoundError")
    monkeypatch.setattr(Environment, "imports", lambda *_: (imports, ""))
    with pytest.raises(SetupError, match=r"install no-such\n.*ninja\n.*install detectron2-from-somewhere$"):
        setup_env.check(made, "run")


def test_environment_that_is_not_there_or_not_ours_is_refused(set_up, made, tmp_path, capsys):
    assert set_up("--venv", str(tmp_path / "none")) == (1, [])
    assert "no environment" in capsys.readouterr().err
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "file").touch()
    assert set_up("--venv", str(tmp_path / "folder")) == (1, [])
    assert "not a Python environment" in capsys.readouterr().err
    (made.path / environment.STAMP).unlink()
    assert set_up() == (1, [])
    assert "VENV=.venv" in capsys.readouterr().err


def test_owner(made, tmp_path):
    assert made.owner() == "ours"
    assert Environment(tmp_path / "none").owner() == "nobody"
    (tmp_path / "empty").mkdir()
    assert Environment(tmp_path / "empty").owner() == "nobody"
    shutil.copytree(made.path, tmp_path / "of-another-checkout", symlinks=True)
    assert Environment(tmp_path / "of-another-checkout").owner() == "theirs"
    (made.path / environment.STAMP).unlink()
    assert made.owner() == "theirs"


def test_stamp_counts_only_when_written_and_while_python_is_there(made):
    assert made.read_stamp() == ("", "")
    made.write_stamp("recipe", "Python 3.11")
    assert made.read_stamp() == ("recipe", "Python 3.11")
    (made.path / environment.STAMP).write_text('{"python": "3.')
    assert made.read_stamp() == ("", "")
    made.write_stamp("recipe", "Python 3.11")
    os.unlink(made.python)
    assert made.read_stamp() == ("", "")


def test_clear_leaves_nothing_but_an_empty_stamp_and_follows_no_link(made, tmp_path):
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").touch()
    (made.path / "link").symlink_to(outside)
    made.write_stamp("recipe", "Python 3.11")
    made.clear()
    assert [child.name for child in made.path.iterdir()] == [environment.STAMP]
    assert made.read_stamp() == ("", "")
    assert (outside / "kept").exists()


def test_run_keeps_the_output_in_the_log(made, capsys):
    made.run("a step", sys.executable, "-c", "print('noise')")
    assert re.fullmatch(r"setup: a step: \d+ s\n", capsys.readouterr().out)
    assert made.log.read_text() == "noise\n"


def test_a_long_step_shows_that_it_still_runs(made, monkeypatch, capsys):
    monkeypatch.setattr(environment, "SILENCE", 0.1)
    made.run("a step", sys.executable, "-c", "import time; time.sleep(0.5)")
    first, *_, last = capsys.readouterr().out.splitlines()
    assert re.fullmatch(rf"setup: a step: \d+ s so far; {re.escape(str(made.log))} shows what it does", first)
    assert re.fullmatch(r"setup: a step: \d+ s", last)


def test_an_interrupted_step_leaves_no_process(made, monkeypatch):
    def interrupted(_):
        raise KeyboardInterrupt

    started, popen = [], subprocess.Popen

    def start(*args, **options):
        started.append(popen(*args, **options))
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", start)
    monkeypatch.setattr(environment, "SILENCE", 0.1)
    monkeypatch.setattr(environment, "say", interrupted)
    with pytest.raises(KeyboardInterrupt):
        made.run("a step", sys.executable, "-c", "import time; time.sleep(60)")
    assert started[0].returncode == -signal.SIGKILL


def test_run_shows_the_end_of_the_log_and_advice_when_it_fails(made):
    made.run("a step", sys.executable, "-c", "print('earlier')")
    script = "print('OSError: No space left on device'); raise SystemExit(1)"
    with pytest.raises(SetupError) as caught:
        made.run("a step", sys.executable, "-c", script)
    assert "disk is full" in str(caught.value)
    assert "earlier" not in str(caught.value)


def test_imports_reports_errors_by_module(made):
    failed, holds = made.imports(["json", "no_such_module"])
    assert list(failed) == ["no_such_module"]
    assert holds.startswith("Python 3.")


def test_imports_of_what_is_no_python(made):
    os.unlink(made.python)
    Path(made.python).write_text("#!/bin/sh\necho broken >&2\n")
    os.chmod(made.python, 0o755)
    with pytest.raises(SetupError, match="broken"):
        made.imports(["json"])
