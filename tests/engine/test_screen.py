"""The screen of a training: what is trained, its progress and its end; log.txt has the rest."""

import io
import json
import logging
import re
import sys
import warnings

import pytest
from detectron2.utils.events import EventStorage

import train_net
from dab_detr.engine import progress
from dab_detr.engine.early_stopping import EarlyStopping
from dab_detr.engine.progress import Progress, Shown, numbers
from dab_detr.engine.screen import LogFile, direct_messages
from dab_detr.engine.summary import ending, evaluated
from tiny import LAZY, lazy_opts


class Output(io.StringIO):
    """A screen that keeps what is written, and is a terminal or not."""

    def __init__(self, tty: bool = False):
        super().__init__()
        self.tty = tty

    def isatty(self) -> bool:
        return self.tty


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A training of four iterations with a moving average, and an evaluation of it: screens and folder."""
    folder, screens = tmp_path_factory.mktemp("run"), {}
    opts = [*map(str, lazy_opts(folder)), "train.ema.enabled=True"]
    for name, options in (("training", []), ("evaluation", ["--eval-only", "--resume"])):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "stdout", Output())
            assert train_net.main(["--config-file", str(LAZY), *options, *opts]) == 0
            screens[name] = sys.stdout.getvalue()
    return screens["training"], screens["evaluation"], folder / "output"


def test_the_beginning_says_what_is_trained_on_what_and_where_to(run):
    screen, _, output = run
    head = screen[: screen.index("iteration 1/4")]
    assert re.search(r"^model +dab_detr_r50_50ep, [\d.]+ million parameters", head, re.M)
    assert f"train.json (4 images, 3 classes), evaluated on {output.parent / 'val.json'} at the end" in head
    assert re.search(r"^length +4 iterations of 2 images, 2\.0 epochs$", head, re.M)
    assert re.search(rf"^output +{output}$", head, re.M)
    assert len(head.splitlines()) < 15


def test_the_screen_shows_losses_time_and_ap(run):
    screen = run[0]
    assert re.search(
        r"^iteration 4/4, 0:00:\d\d left; loss [\d.]+, class [\d.]+, box [\d.]+, giou [\d.]+$", screen, re.M
    )
    assert re.search(
        r"^after 4 iterations: AP [\d.]+, AP50 [\d.]+, AP75 [\d.]+; the moving average of the weights \(EMA\) has AP",
        screen,
        re.M,
    )
    assert "evaluation of the moving average 4/4" in screen


def test_the_end_names_the_files_and_the_next_commands(run):
    screen, _, output = run
    end = screen[screen.index("finished after 4 iterations; in ") :]
    for name in re.findall(r"^  (\S+\.\w+) ", end, re.M):
        assert (output / name).is_file()
    for name in ("model_best.pth", "model_final_ema.pth", "curves.png", "log.txt"):
        assert f"  {name} " in end
    assert f"python tools/predict.py --checkpoint {output}/model_best.pth pictures/" in end
    assert f"python train_net.py --config-file {output}/config.yaml --eval-only" in end


def test_the_screen_leaves_the_rest_to_the_log(run):
    screen, _, output = run
    log = (output / "log.txt").read_text()
    for text in ("PyTorch", "Command line arguments", "from dab_detr.models import", "Serializing", "copypaste",
                 "Average precision", "Augmentations used in", "Saving checkpoint to", "eta: "):  # fmt: skip
        assert text in log and text not in screen
    assert "\x1b" not in screen and "\x1b" not in log
    assert len(screen.splitlines()) < 45


def test_the_tables_of_the_average_say_that_they_are_its(run):
    log = (run[2] / "log.txt").read_text()
    name = "the moving average of the weights (EMA)"
    assert f"{name}: Evaluation results for bbox" in log and f"{name}: Per-category bbox AP" in log
    assert len(re.findall(r"INFO: Evaluation results for bbox", log)) == 2  # of the weights, by training and by itself
    assert "copypaste: Task: ema/bbox" in log


def test_an_evaluation_alone_shows_its_tables_and_keeps_its_metrics(run):
    _, screen, output = run
    assert "Per-category bbox AP" in screen and "PyTorch" not in screen
    assert "evaluations.json" in screen.splitlines()[-1]
    (line,) = (output / "evaluations.json").read_text().splitlines()
    metrics = json.loads(line, parse_constant=pytest.fail)  # NaN is no JSON
    assert metrics["checkpoint"] == str(output / "model_final.pth")
    assert metrics["bbox/AP"] >= 0 and "ema/bbox/AP50" in metrics and metrics["bbox/APl"] is None
    assert len((output / "metrics.json").read_text().splitlines()) == 3


@pytest.fixture
def directed(tmp_path):
    """Messages directed to a folder; loggers are as before afterwards."""
    names = ("detectron2", "fvcore", "dab_detr", "py.warnings")
    before = {x: (list(logging.getLogger(x).handlers), logging.getLogger(x).propagate) for x in names}
    for name in names:
        logging.getLogger(name).handlers = []  # a log of the training before is closed otherwise
    direct_messages(str(tmp_path / "one"))
    yield tmp_path
    logging.captureWarnings(False)
    for name, (handlers, propagate) in before.items():
        logging.getLogger(name).handlers, logging.getLogger(name).propagate = handlers, propagate


def test_warnings_of_libraries_go_to_the_log_and_ours_to_the_screen(directed, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        logging.captureWarnings(False)
        direct_messages(str(directed / "one"))
        warnings.warn("slow tensors", UserWarning, stacklevel=1)
    logging.getLogger("dab_detr.engine.loop").warning("%d steps skipped", 3)
    logging.getLogger("fvcore.common.checkpoint").warning("\x1b[31mred\x1b[0m")
    mapped = "Category ids in annotations are not in [1, #categories]! We'll apply a mapping for you."
    logging.getLogger("detectron2.data.datasets.coco").warning(mapped)
    assert capsys.readouterr().out == "warning: 3 steps skipped\nwarning: \x1b[31mred\x1b[0m\n"
    log = (directed / "one/log.txt").read_text()
    assert "slow tensors" in log and "3 steps skipped" in log and "WARNING: red\n" in log and mapped in log


def test_a_second_training_of_a_process_has_a_log_of_its_own(directed, capsys):
    direct_messages(str(directed / "two"))
    logging.getLogger("dab_detr.engine.loop").info("of the second")
    direct_messages(str(directed / "one"))
    logging.getLogger("dab_detr.engine.loop").info("of the first")
    assert (directed / "one/log.txt").read_text().count("of the") == 1
    assert (directed / "two/log.txt").read_text().count("of the second") == 1
    assert capsys.readouterr().out == "of the second\nof the first\n"


def test_the_log_of_an_earlier_training_is_closed(directed, tmp_path):
    def files() -> list[LogFile]:
        return [x for x in logging.getLogger("dab_detr").handlers if isinstance(x, LogFile)]

    (first,) = files()
    direct_messages(str(tmp_path / "other"))
    (second,) = files()
    assert first.stream.closed and not second.stream.closed


def test_other_processes_have_no_screen(directed, capsys):
    direct_messages(str(directed / "one"), rank=1)
    logging.getLogger("dab_detr.engine.loop").warning("of process 1")
    assert "of process 1" in (directed / "one/log.txt.rank1").read_text() and not capsys.readouterr().out


def test_lines_come_once_in_half_a_minute(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(sys, "stdout", Output())
    shown = Progress(100, start=10, title="iteration")
    for step in range(90):
        now[0] += 4.0 if step else 70.0  # the first step waits for data workers, and is not like the others
        shown.step(f"loss {step}")
    lines = sys.stdout.getvalue().splitlines()
    assert lines[:2] == ["iteration 11/100; loss 0", "iteration 19/100, 0:05:24 left; loss 8"]
    assert lines[-1] == "iteration 100/100, 0:00:00 left; loss 89"
    assert len(lines) == 90 // 8 + 2


def test_one_step_alone_has_no_time(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Output())
    Progress(1, title="iteration").step("loss 2")
    assert sys.stdout.getvalue() == "iteration 1/1; loss 2\n"


def test_a_terminal_has_a_bar_and_messages_above_it(directed, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Output(tty=True))
    shown = Progress(4, start=1, title="iteration")
    shown.step("loss 3.2, AP 74.6")
    shown.bar.refresh()
    logging.getLogger("dab_detr.engine.best").info("the best so far")
    shown.close()
    screen = sys.stdout.getvalue()
    assert re.search(r"\riteration: +50%.* 2/4 \[.*loss 3\.2, AP 74\.6\]", screen)
    assert "\rthe best so far\n" in screen
    assert "\x1b[31m" not in screen


def test_a_loader_shows_its_progress(monkeypatch):
    monkeypatch.setattr(sys, "stdout", Output())
    shown = Shown([1, 2, 3], "evaluation")
    assert len(shown) == 3 and list(shown) == [1, 2, 3]
    assert sys.stdout.getvalue().splitlines() == ["evaluation 1/3", "evaluation 3/3, 0:00:00 left"]


def test_numbers_beside_the_progress():
    with EventStorage() as storage:
        assert numbers(storage) == ""
        storage.put_scalars(total_loss=3.21, loss_ce=1.0, loss_ce_0=9.0, loss_giou=0.5)
        storage.put_scalars(**{"bbox/AP": 74.63, "ema/bbox/AP": 75.0})
        assert numbers(storage) == "loss 3.21, class 1, giou 0.5, AP 74.6, AP of EMA 75.0"


def test_an_evaluation_in_one_line():
    boxes = {"AP": 1.26, "AP50": 2.0, "AP75": float("nan"), "AP-cat": 3.0}
    results = {"bbox": boxes, "validation": {"total_loss": 5.4321}, "ema": {"bbox": {"AP": 9.0}}}
    assert evaluated(results, after=1200) == (
        "after 1,200 iterations: AP 1.3, AP50 2.0, AP75 nan, validation loss 5.43; "
        "the moving average of the weights (EMA) has AP 9.0"
    )
    assert evaluated({}) is None


def test_the_end_of_a_training_without_evaluations(tmp_path):
    (tmp_path / "model_final.pth").touch()
    text = ending(str(tmp_path), 12, evaluates=False)
    assert "model_best" not in text and f"--checkpoint {tmp_path}/model_final.pth" in text
    assert "--eval-only" not in text and "--eval-only" in ending(str(tmp_path), 12, evaluates=True)
    own = ending(str(tmp_path), 12, evaluates=False, allow=["mine.Prior", "mine.Queries"])
    predicting, exporting = own.splitlines()[-2:]
    assert predicting.endswith("--output found --allow mine.Prior --allow mine.Queries")
    assert exporting == (
        f"  python tools/export_model.py --checkpoint {tmp_path}/model_final.pth --to onnx {tmp_path}/model.onnx "
        "--allow mine.Prior --allow mine.Queries"
    )


def test_without_validation_data_a_training_says_so_and_an_evaluation_is_refused(tmp_path, capsys):
    opts = [x for x in map(str, lazy_opts(tmp_path)) if not x.startswith("dataset.val")]
    opts = ["--config-file", str(LAZY), *opts, "dataset.val.name=null"]
    assert train_net.main([*opts, "train.max_iter=1"]) == 0
    screen = capsys.readouterr().out
    assert "There is no dataset.val: this training is never evaluated, and has no model_best.pth." in screen
    assert ", never evaluated\n" in screen and "--eval-only" not in screen
    assert train_net.main([*opts, "--eval-only"]) == 2
    assert "there is no dataset: give dataset.root, or dataset.val.annotations and" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "bbox/AP has not been better than 0.0357 in the last 3 evaluations"),
        ({"min_delta": 0.5}, "bbox/AP has not risen by more than 0.5 (train.early_stopping.min_delta) above 0.0357 in"),
        (
            {"min_delta": 0.5, "mode": "min"},
            "has not fallen by more than 0.5 (train.early_stopping.min_delta) below 0.",
        ),
    ],
)
def test_the_sentence_of_early_stopping_is_true(options, sentence):
    class Stopping:
        def ask(self, reason, name):
            self.reason = reason

    hook = EarlyStopping(Stopping(), patience=3, metric="bbox/AP", **options)
    hook.load_state_dict({"best": 0.0357, "since": 3})
    hook._stop_if_out_of_patience()
    assert sentence in hook.stopping.reason
