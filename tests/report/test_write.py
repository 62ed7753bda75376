"""The report of a training: its parts, names that are no HTML, commands that run, and a browser that shows it."""

import json
import os
import re
import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from omegaconf import OmegaConf

import dab_detr
import train_net
from browser import CHROMIUM, browse
from dab_detr.report.commands import commands, training_longer
from dab_detr.report.results import metrics_section
from dab_detr.report.section import number
from dab_detr.report.settings import installed
from dab_detr.report.speed import cpu_threads
from dab_detr.report.write import lead, still_rising
from dab_detr.visualization.curves import read_metrics
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
    assert re.match(
        r"The best AP is \d+\.\d \(at iteration \d\)\. Its weights are in model_best\.pth\.", content["lead"]
    )
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
    assert found["note"] == (
        "Given: a folder (dataset.root). The config has null there, and the values that follow; log.txt lists them."
    )


def test_the_commands_are_read_by_the_tools(content, folder):
    lines = [shlex.split(x) for _, x in section(content, "Commands")["commands"]]
    found = {(words[1], *[x for x in words if x in ("--eval-only", "--resume")]): words[2:] for words in lines}
    checkpoint = str(folder / "model_best.pth")
    assert predict.parse(found["tools/predict.py",]).checkpoint == checkpoint
    assert export_model.parse(found["tools/export_model.py",]).checkpoint == checkpoint
    longer = train_net.parse(found["train_net.py", "--resume"])
    assert longer.resume and longer.config_file == f"{folder}/config.yaml" and longer.opts == ["train.max_iter=8"]
    again = train_net.parse(found["train_net.py", "--eval-only"])
    again = dab_detr.train(again.config_file, [*again.opts, f"train.output_dir={folder}_again"], eval_only=True)
    assert again.metrics["bbox"]["AP"] >= 0


def test_a_finished_training_is_continued_by_the_command(content, folder, tmp_path):
    (line,) = (x for _, x in section(content, "Commands")["commands"] if "--resume" in x)
    copy = tmp_path / "output"
    shutil.copytree(folder, copy)
    longer = train_net.parse(shlex.split(line)[2:])
    opts = [*longer.opts, f"train.output_dir={copy}", "train.eval_period=0", "train.report=False"]
    dab_detr.train(longer.config_file, opts, resume=True)
    assert read_metrics(copy / "metrics.json")["total_loss"][-1][0] >= 7


def test_a_longer_training_is_not_stopped_early():
    assert training_longer(Path("a b"), 20, stops_early=True) == (
        "python train_net.py --config-file 'a b/config.yaml' --resume train.max_iter=20 train.early_stopping.patience=0"
    )


@pytest.mark.parametrize("values, said", [([11, 15, 17.9], True), ([11, 15, 15.1], False)])
def test_the_average_and_ap_that_still_rises_are_told_in_plain_words(values, said, tmp_path):
    lines = [json.dumps({"ema/bbox/AP": value, "iteration": 1000 * i}) for i, value in enumerate(values, 1)]
    (tmp_path / "metrics.json").write_text("\n".join(lines))
    cfg = OmegaConf.create({"train": {"best": {"metric": "ema/bbox/AP", "mode": "max"}}})
    text = lead(cfg, tmp_path)
    assert text.startswith(
        f"The best AP is {max(values):.1f} (at iteration 3,000, of the moving average of the weights). "
    )
    remark = still_rising(cfg, tmp_path)
    assert bool(remark) == said
    note = metrics_section({"bbox": {"AP": 1.0}}, remark).note
    assert note.startswith("AP still rose at the end" if said else "COCO's")


def test_a_thread_is_one_thread():
    assert [cpu_threads(x) for x in (1, 2)] == ["1 CPU thread", "2 CPU threads"]


def test_the_commands_allow_parts_of_the_users_own(folder):
    lines = [
        shlex.split(line)
        for _, line in commands(folder, "python train_net.py", ["mine.Prior", "mine.Queries"]).commands
    ]
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


def test_long_commands_wrap(folder):
    style = re.search(r"^pre \{.*\}$", (folder / "report.html").read_text(encoding="utf-8"), re.MULTILINE)[0]
    assert "white-space: pre-wrap" in style and "overflow-wrap: anywhere" in style
