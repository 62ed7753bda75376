"""python -m tools.setup_env [--venv PATH] [--python NAME] [--detectron2 WAY] [--for PURPOSE]"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import sys
from pathlib import Path

from .detectron2_install import GITHUB, LOCK, install_detectron2
from .environment import OURS, ROOT, Environment, SetupError, say
from .machine import find_python, python_version

DISK_GIB = 8

# What each command imports: the module, and what to give to pip where it is missing.
RUN = {
    "torch": "torch",
    "torchvision": "torchvision",
    "scipy": "scipy",
    "pycocotools": "pycocotools",
    "fvcore": "fvcore",
    "omegaconf": "'omegaconf<2.4'",
    "hydra": "hydra-core",
    "matplotlib": "matplotlib",
    "tensorboard": "tensorboard",
    "detectron2.engine": f"--no-build-isolation {GITHUB}",
}
TEST = {
    "pytest": "pytest",
    "xdist": "pytest-xdist",
    "hypothesis": "hypothesis",
    "transformers": "transformers",
    "timm": "timm",
}
NEEDS = {"run": RUN, "test": {**RUN, **TEST}, "lint": {"ruff": "ruff"}}


def digest(*paths: Path) -> str:
    """One hash over the contents of several files."""
    total = hashlib.sha256()
    for path in paths:
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def wanted_state(python: str | None, detectron2: str | None) -> dict[str, str]:
    """What the state file must say; of the Python and the way to detectron2 only if asked for."""
    state = {
        "checkout": str(ROOT),
        "environment": digest(LOCK, *sorted(Path(__file__).parent.glob("*.py"))),
        "project": digest(ROOT / "setup.py"),
        "python": python,
        "detectron2": detectron2,
    }
    return {key: value for key, value in state.items() if value is not None}


def work_left(state: dict[str, str], wanted: dict[str, str]) -> str:
    """`nothing`, `project` if only the project's setup.py changed, else `all`."""
    changed = {key for key, value in wanted.items() if state.get(key) != value}
    if not changed:
        return "nothing"
    return "project" if changed == {"project"} else "all"


@contextlib.contextmanager
def alone():
    """Keep a second set-up of this checkout waiting until this one is through."""
    handle = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up of this checkout is running: waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield handle
    finally:
        os.close(handle)


def make(environment: Environment, python: str, detectron2: str | None) -> str:
    """Make the whole environment anew; returns which way to detectron2 it took."""
    environment.clear()
    if shutil.disk_usage(environment.path).free < DISK_GIB * 2**30:
        raise SetupError(f"{environment.path} needs {DISK_GIB} GiB of disk, and less is free.")
    say(f"making {environment.path}: once, some minutes, 3 GB to download, 7 GB on disk")
    environment.run(f"virtual environment of {python}", python, "-m", "venv", str(environment.path))
    tools = ("pip", "setuptools", "wheel", "ninja")
    environment.pip("pip and setuptools", "install", "--upgrade", "-c", str(LOCK), *tools)
    arguments = ("--no-build-isolation", "-r", str(LOCK))
    environment.pip("torch, torchvision and the rest of requirements.lock", "install", *arguments)
    return install_detectron2(environment, detectron2)


def install_project(environment: Environment) -> None:
    arguments = ("--no-build-isolation", "-c", str(LOCK), "-e", f"{ROOT}[test]")
    environment.pip("dab_detr itself", "install", *arguments)


def bring_up_to_date(path: Path, python: str | None, detectron2: str | None) -> str:
    """Do what is left to do for our environment; returns a line on what it holds."""
    python = find_python(python) if python else None
    version = "{}.{}".format(*python_version(python)) if python else None
    wanted = wanted_state(version, detectron2)
    state = Environment(path).read_state()
    if work_left(state, wanted) == "nothing":
        return state["holds"]
    with alone() as held:
        environment = Environment(path, held)
        state = environment.read_state()  # the set-up that we waited for may have done it all
        left = work_left(state, wanted)
        if left == "nothing":
            return state["holds"]
        if left == "project":
            environment.write_state({**state, "project": ""})
        else:
            python = python or find_python(None)
            if environment.owner() == "ours":
                why = "what it is made from has changed" if state else "its set-up did not end"
                say(f"{path} is removed and made anew: {why}")
            way = make(environment, python, detectron2)
            state = {"python": "{}.{}".format(*python_version(python)), "detectron2": way}
        install_project(environment)
        failed, holds = environment.imports(list(NEEDS["test"]))
        if failed:
            raise SetupError(f"{path} was made, but in it fails to import: {failed}")
        environment.write_state({**state, **wanted, "holds": holds})
        return holds


def check(environment: Environment, purpose: str) -> str:
    """See that the user's environment has what `purpose` needs; returns a line on what it holds."""
    path, needs = environment.path, NEEDS[purpose]
    if not os.access(environment.python, os.X_OK):
        raise SetupError(f"{path} is not a Python environment: it has no bin/python.")
    failed, holds = environment.imports(list(needs))
    if failed:
        lines = [f"{path} does not have all that is needed:"]
        lines += [f"  {name}: {error}" for name, error in failed.items()]
        lines += ["Nothing was changed in it. To add what it lacks:"]
        pip = f"  {environment.python} -m pip install"
        if plain := [needs[name] for name in failed if name != "detectron2.engine"]:
            lines += [f"{pip} {' '.join(plain)}"]
        if "detectron2.engine" in failed:
            lines += [f"{pip} 'setuptools<81' wheel ninja", f"{pip} {needs['detectron2.engine']}"]
        raise SetupError("\n".join(lines))
    return holds


def set_up(options: argparse.Namespace) -> None:
    """Make, update or check the environment, whichever is due; raises SetupError."""
    path = Path(options.venv).expanduser().absolute() if options.venv else OURS
    environment = Environment(path)
    whose = environment.owner()
    if whose == "theirs" and not options.venv:
        raise SetupError(
            f"{path} was not made by this script, so it is left alone.\n"
            "Give it as VENV=.venv to use it as it is, or move it away to have one made."
        )
    if whose == "nobody" and path != OURS:
        raise SetupError(f"there is no environment at {path}. Without VENV=, .venv is made.")
    if whose == "theirs":
        say(f"{path}, your own, used as it is: {check(environment, options.purpose)}")
    else:
        say(f"{path}: {bring_up_to_date(path, options.python, options.detectron2)}")


def main() -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.setup_env", description="Make or check the environment to run in."
    )
    parser.add_argument("--venv", help="an environment of your own, used as it is")
    parser.add_argument("--python", help="the Python to build .venv on (3.10, 3.11 or 3.12)")
    parser.add_argument("--detectron2", choices=("github", "index"), help="only this way")
    parser.add_argument("--for", dest="purpose", choices=sorted(NEEDS), default="test")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        set_up(parser.parse_args())
    except (SetupError, OSError) as error:
        print(f"setup: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nsetup: interrupted; the next run starts over", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
