"""The report of a training: its parts, names that are no HTML, commands that run, and a browser that shows it."""

import json
import os
import re
import shlex

import numpy as np
import pytest

import dab_detr
import train_net
from browser import CHROMIUM, browse
from dab_detr.report.commands import commands
from dab_detr.report.section import number
from dab_detr.report.settings import installed
from folders import picture
from tiny import LAZY, model_opts
from tools import explain, export_model, predict

HOSTILE = ["</script><script>document.title='hit'</script>", "<img src=x onerror=\"document.title='hit'\">"]
SECTIONS = [
    "Average precision", "Classes", "Curves of the evaluation", "Worst pictures", "Best pictures",
    "Curves of the training", "Data", "Size and speed", "Commands", "Settings and versions",
]  # fmt: skip


def dataset(root, number: int = 12):
    """Pictures with labels whose class names are HTML."""
    for i in range(number):
        picture(root / f"{i}.png", i)
        (root / f"{i}.txt").write_text(f"{i % 2} 0.4 0.5 0.4 0.4\n")
    (root / "classes.txt").write_text("\n".join(HOSTILE))
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The output folder of a training."""
    folder = tmp_path_factory.mktemp("report")
    opts = [*model_opts(), "train.device=cpu", "train.init_checkpoint=", "train.preview.num_images=0", "train.seed=3",
            "dataloader.num_workers=0", "dataloader.train.total_batch_size=2", "train.max_iter=4",
            "train.eval_period=2", "dataloader.evaluator.score_threshold=0.001"]  # fmt: skip
    root = dataset(folder / "my data")
    dab_detr.train(LAZY, [f"dataset.root='{root}'", f"train.output_dir={folder / 'output'}", *opts])
    return folder / "output"


@pytest.fixture(scope="module")
def content(folder):
    text = (folder / "report.html").read_text(encoding="utf-8")
    return json.loads(re.search(r'type="application/json">(.*?)</script>', text, re.DOTALL)[1])


def section(content: dict, title: str) -> dict:
    return next(x for x in content["sections"] if x["title"] == title)


def test_the_report_has_all_its_parts(content):
    assert [x["title"] for x in content["sections"]] == SECTIONS
    assert re.match(r"The best bbox/AP is \d+\.\d, at iteration \d: model_best\.pth\.", content["lead"])
    assert len(section(content, "Worst pictures")["figures"]) + len(section(content, "Best pictures")["figures"]) == 2
    assert len(section(content, "Curves of the evaluation")["figures"]) == 2
    assert len(section(content, "Data")["figures"]) == 4


def test_the_numbers_are_those_of_the_data(content):
    numbers, classes = section(content, "Data")["tables"]
    assert numbers["header"] == ["", "train", "val"] and numbers["rows"][0] == ["pictures", "10", "2"]
    assert [x[0] for x in classes["rows"]] == HOSTILE and sum(int(x[1]) + int(x[2]) for x in classes["rows"]) == 12
    (table,) = section(content, "Classes")["tables"]
    assert [x[0] for x in table["rows"]] == HOSTILE and "best threshold" in table["header"]


def test_the_settings_and_versions_are_those_of_the_training(content, folder):
    found = section(content, "Settings and versions")
    settings, versions = (dict(x["rows"]) for x in found["tables"])
    assert settings["iterations"] == "4" and settings["seed"] == "3"
    assert settings["dataloader.evaluator.score_threshold"] == "0.001"
    assert versions["dab_detr"] == dab_detr.__version__ and versions["torch"] != "unknown"
    assert found["folded"][1] == (folder / "config.yaml").read_text()
    assert installed("shlex") == "unknown"


def test_the_commands_are_read_by_the_tools(content, folder):
    lines = [shlex.split(x) for _, x in section(content, "Commands")["commands"]]
    found = {(words[1], *[x for x in words if x in ("--eval-only", "--resume")]): words[2:] for words in lines}
    checkpoint = str(folder / "model_best.pth")
    assert predict.parse(found["tools/predict.py",]).checkpoint == checkpoint
    assert export_model.parse(found["tools/export_model.py",]).checkpoint == checkpoint
    assert train_net.parse(found["train_net.py", "--resume"]).resume
    again = train_net.parse(found["train_net.py", "--eval-only"])
    again = dab_detr.train(again.config_file, [*again.opts, f"train.output_dir={folder}_again"], eval_only=True)
    assert again.metrics["bbox"]["AP"] >= 0


def test_the_commands_allow_parts_of_the_users_own(folder):
    lines = [shlex.split(line) for _, line in commands(folder, ["mine.Prior", "mine.Queries"]).commands]
    for tool in (predict, explain, export_model):
        (words,) = (x for x in lines if x[1] == f"tools/{tool.__name__.rpartition('.')[2]}.py")
        assert tool.parse(words[2:]).allow == ["mine.Prior", "mine.Queries"]


def test_the_page_needs_nothing_and_names_cannot_leave_their_place(folder):
    text = (folder / "report.html").read_text(encoding="utf-8")
    assert text.count("<script") == 2 and "<img src=x" not in text
    assert "://" not in re.sub(r'"data:image[^"]*', "", text.split("The whole config")[0])


def test_numbers():
    assert [number(x, 2) for x in (1234.567, "0.5", "nan", None, "", float("nan"))] == ["1,234.57", "0.50", *["–"] * 4]


@pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="there is no chromium on this machine")
def test_a_browser_shows_it(folder, tmp_path):
    assert CHROMIUM, "CI needs chromium: .ci/run installs it"
    wide = browse(folder / "report.html", "", 1400, tmp_path)
    assert len(np.unique(wide.reshape(-1, 3), axis=0)) > 50
    dark = browse(folder / "report.html", "", 1400, tmp_path, "--blink-settings=preferredColorScheme=0")
    assert dark[-1, 0].sum() < 200 < wide[-1, 0].sum()
    assert browse(folder / "report.html", "", 500, tmp_path).shape[1] == 500
