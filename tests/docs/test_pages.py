"""The README and the pages in docs/: commands that parse, Python that compiles, links that lead somewhere, a site."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pages import PAGES, ROOT, anchors, blocks, commands, links
from PIL import Image

import train_net
from benchmarks import __main__ as benchmarks
from dab_detr.config import load
from dab_detr.data.shapes.dataset import Parameters
from tools import check_dataset, convert_checkpoint, convert_dataset, explain, export_model, predict

SCRIPTS = {
    "train_net.py": train_net,
    "tools/check_dataset.py": check_dataset,
    "tools/convert_checkpoint.py": convert_checkpoint,
    "tools/convert_dataset.py": convert_dataset,
    "tools/explain.py": explain,
    "tools/export_model.py": export_model,
    "tools/predict.py": predict,
}
DATASET_TOOLS = {"tools/convert_dataset.py", "tools/check_dataset.py"}
OF_OTHERS = {"pip", ".", "sbatch", "srun", "git", "cd", "export"}
"""Commands of other programs, which no test runs."""

COMMANDS = {f"{page.name}: {shlex.join(words)}": words for page in PAGES for words in commands(page)}


def names(pages) -> list[str]:
    return [str(page.relative_to(ROOT)) for page in pages]


@pytest.fixture(scope="module")
def clone(tmp_path_factory) -> Path:
    """A folder like a clone, with a dataset of the user's in it."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / "my/dataset").mkdir(parents=True)
    (folder / "configs").symlink_to(ROOT / "configs")
    return folder


def script_and_arguments(words: list[str]) -> tuple[str, list[str]]:
    """The script of this project that a command starts, by python or torchrun, and its arguments; "" for none."""
    place = next((i for i, word in enumerate(words) if word.endswith(".py")), None)
    if place is None or words[0] not in ("python", "torchrun"):
        return "", []
    return words[place], words[place + 1 :]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_one_that_exists(command, clone, monkeypatch):
    monkeypatch.chdir(clone)
    words = COMMANDS[command]
    script, arguments = script_and_arguments(words)
    if script in SCRIPTS:
        parsed = SCRIPTS[script].parse(arguments)
        config = getattr(parsed, "config_file", None) or ""
        if Path(config).parent.name == "configs":
            load(config, parsed.opts)  # a wrong override is an error
    elif script:
        assert (ROOT / script).is_file() or script == "serve.py", f"{command} runs a script that does not exist"
    elif words[:3] == ["python", "-m", "benchmarks"]:
        benchmarks.parse(words[3:])
    elif words[0] == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert not {x for x in words[1:] if "=" not in x} - set(targets)
    elif words[:2] == ["python", "-m"]:
        assert words[2] in ("dab_detr.zoo", "http.server", "pytest")
    else:
        assert words[0] in OF_OTHERS, f"{command}: say in this test what the command is"


@pytest.mark.parametrize("command", ["python -m dab_detr.zoo", "make help"])
def test_a_cheap_command_runs(command):
    words = [sys.executable if word == "python" else word for word in command.split()]
    told = subprocess.run(words, cwd=ROOT / "projects" if "-m" in words else ROOT, capture_output=True, text=True)
    assert told.returncode == 0 and told.stdout and not told.stderr


def test_a_dataset_is_converted_and_checked_by_the_commands_of_the_page(tmp_path, monkeypatch):
    """The first steps of docs/own_data.md, on a dataset in YOLO's folders, as they are printed."""
    monkeypatch.chdir(tmp_path)
    for split in ("train", "val"):
        for kind in ("images", "labels"):
            Path("my/dataset", kind, split).mkdir(parents=True)
        pixels = np.random.default_rng(len(split)).integers(256, size=(40, 60, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(f"my/dataset/images/{split}/1.png")
        Path(f"my/dataset/labels/{split}/1.txt").write_text("0 0.5 0.5 0.4 0.4\n")
    Path("my/dataset/data.yaml").write_text("train: images/train\nval: images/val\nnames: [cat]\n")
    words = [x for x in commands(ROOT / "docs/own_data.md") if x[1] in DATASET_TOOLS]
    assert {x[1] for x in words} == DATASET_TOOLS
    for command in words:
        assert SCRIPTS[command[1]].main(command[2:]) == 0, command


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_python_compiles(page):
    for number, block in enumerate(blocks(page, "python")):
        assert compile(block, f"{page.name}, block {number}", "exec")


@pytest.mark.parametrize("page", PAGES, ids=names(PAGES))
def test_links_lead_to_files_and_headings(page):
    for link in links(page):
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{page.name} links to {link}"
        assert not heading or heading in anchors(target), f"{page.name} links to {link}"


def test_every_page_is_reached_from_the_readme():
    waiting, reached = [ROOT / "README.md"], set()
    while waiting:
        page = waiting.pop()
        reached.add(page)
        linked = {(page.parent / x.partition("#")[0]).resolve() for x in links(page)}
        waiting += [x for x in linked if x.suffix == ".md" and x not in reached]
    assert set(PAGES) - reached - {ROOT / "docs/index.md"} == set()


def test_the_folder_of_the_demos_pictures_is_the_real_one():
    splits = load(str(ROOT / "configs/demo_shapes.py")).dataset
    given = {key: splits.val.name[key] for key in ("num_train", "num_val")}
    folder = f"datasets/shapes/{Parameters(**given).folder_name}/val"
    for name in ("docs/predict.md", "docs/python.md", "Makefile"):
        found = re.findall(r"datasets/shapes/\w+/val", (ROOT / name).read_text())
        assert set(found) == {folder}, name


@pytest.mark.parametrize("page", ["predict.md", "seeing.md", "python.md"])
def test_a_page_about_results_uses_the_best_checkpoint(page):
    text = (ROOT / "docs" / page).read_text()
    assert "model_best.pth" in text and "model_final.pth" not in text


def test_the_readme_has_the_table_of_the_family():
    table = re.search(r"^\| step \|.*?\n\n", (ROOT / "docs/family.md").read_text(), re.DOTALL | re.MULTILINE)[0]
    assert table in (ROOT / "README.md").read_text(), "the table in README.md is a copy of that in docs/family.md"


def test_the_readme_has_150_lines_at_most():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_site_builds_without_warnings(tmp_path):
    # without --quiet, which would also keep --strict from seeing warnings
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    told = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    pages = {x.parent.name for x in (tmp_path / "site").rglob("index.html")}
    assert {x.stem for x in PAGES if x.parent.name == "docs" and x.stem != "index"} <= pages
