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
VERSIONS = {"github": "detectron2 0.6", "index": "detectron2 0.5"}

# What each command imports: the module, and the name under which pip finds it.
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
DOCS = {"mkdocs": "'mkdocs<2'", "material": "mkdocs-material"}
NEEDS = {"run": RUN, "test": {**RUN, **TEST, **DOCS}, "lint": {"ruff": "ruff"}, "docs": DOCS}


def recipe() -> str:
    """A hash over everything that determines the packages: the lock file, setup.py, these scripts, the checkout's
    path."""
    total = hashlib.sha256(str(ROOT).encode())
    for path in (LOCK, ROOT / "setup.py", *sorted(Path(__file__).parent.glob("*.py"))):
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def is_current(environment: Environment, python: str | None, detectron2: str | None) -> bool:
    """Whether our environment was made by the current recipe, with the requested Python and Detectron2."""
    made_by, holds = environment.read_stamp()
    wishes = [python and f"Python {python}.", detectron2 and VERSIONS[detectron2]]
    return made_by == recipe() and all(wish in holds for wish in wishes if wish)


@contextlib.contextmanager
def alone():
    """Hold the lock of this checkout. A second set-up waits here."""
    folder = os.open(ROOT, os.O_RDONLY)
    try:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up of this checkout is running: waiting for it")
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def make(environment: Environment, python: str, detectron2: str | None) -> None:
    """Fill an empty environment."""
    environment.clear()
    if shutil.disk_usage(environment.path).free < DISK_GIB * 2**30:
        raise SetupError(f"{environment.path} needs {DISK_GIB} GiB of disk, and less is free.")
    say(f"making {environment.path}: once, some minutes, 3 GB to download, 7 GB on disk")
    environment.run(f"virtual environment of {python}", python, "-m", "venv", str(environment.path))
    tools = ("pip", "setuptools", "wheel", "ninja")
    environment.pip("pip and setuptools", "install", "--upgrade", "-c", str(LOCK), *tools)
    arguments = ("--no-build-isolation", "-r", str(LOCK))
    environment.pip("torch, torchvision and the rest of requirements.lock", "install", *arguments)
    install_detectron2(environment, detectron2)
    arguments = ("--no-build-isolation", "-c", str(LOCK), "-e", f"{ROOT}[test]")
    environment.pip("dab_detr itself", "install", *arguments)


def bring_up_to_date(environment: Environment, python: str | None, detectron2: str | None) -> str:
    """Make our environment if it is missing or not current. Return a line about its contents."""
    python = find_python(python) if python else None
    version = "{}.{}".format(*python_version(python)) if python else None
    if is_current(environment, version, detectron2):
        return environment.read_stamp()[1]
    with alone():
        if not is_current(environment, version, detectron2):  # another set-up may have made it while this one waited
            if environment.owner() == "ours":
                say(f"{environment.path} is removed and made again: it is not complete, or not what is asked for")
            make(environment, python or find_python(None), detectron2)
            failed, holds = environment.imports(list(NEEDS["test"]))
            if failed:
                raise SetupError(f"{environment.path} was made, but these imports fail in it: {failed}")
            environment.write_stamp(recipe(), holds)
    return environment.read_stamp()[1]


def check(environment: Environment, purpose: str) -> str:
    """Check that the user's environment has the packages for `purpose`. Return a line about its contents."""
    path, needs = environment.path, NEEDS[purpose]
    if not os.access(environment.python, os.X_OK):
        raise SetupError(f"{path} is not a Python environment: it has no bin/python.")
    failed, holds = environment.imports(list(needs))
    if not failed:
        return holds
    lines = [f"{path} does not have all that is needed:"]
    lines += [f"  {name}: {error}" for name, error in failed.items()]
    lines += ["Nothing was changed in it. These commands add what it lacks:"]
    pip = f"  {environment.python} -m pip install"
    if plain := [needs[name] for name in failed if name != "detectron2.engine"]:
        lines += [f"{pip} {' '.join(plain)}"]
    if "detectron2.engine" in failed:
        lines += [f"{pip} 'setuptools<81' wheel ninja", f"{pip} {needs['detectron2.engine']}"]
    raise SetupError("\n".join(lines))


def set_up(options: argparse.Namespace) -> None:
    """Make, update or check the environment. Raises SetupError."""
    path = Path(options.venv).expanduser().absolute() if options.venv else OURS
    environment = Environment(path)
    whose = environment.owner()
    if whose == "theirs" and not options.venv:
        raise SetupError(
            f"{path} was not made by this script, so the script does not change it.\n"
            "Give it as VENV=.venv to use it as it is, or move it away to have one made."
        )
    if whose == "nobody" and path != OURS:
        raise SetupError(f"there is no environment at {path}. Leave VENV= out to have .venv made.")
    if whose == "theirs":
        say(f"{path}, your own, used as it is: {check(environment, options.purpose)}")
    else:
        say(f"{path}: {bring_up_to_date(environment, options.python, options.detectron2)}")


def main() -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.setup_env", description="Make or check the environment to run in."
    )
    parser.add_argument("--venv", help="an environment of your own, used as it is")
    parser.add_argument("--python", help="the Python to build .venv on (3.10, 3.11 or 3.12)")
    parser.add_argument("--detectron2", choices=sorted(VERSIONS), help="only this way")
    parser.add_argument("--for", dest="purpose", choices=sorted(NEEDS), default="test")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        set_up(parser.parse_args())
    except (SetupError, OSError) as error:
        print(f"setup: error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nsetup: interrupted; the next run starts from the beginning", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
