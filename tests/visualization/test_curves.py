"""Curves of a training from Detectron2's metrics.json, as runs, kills and resumed runs leave it."""

import json
import math

import pytest
from detectron2.engine.hooks import EvalHook, PeriodicWriter
from detectron2.engine.train_loop import TrainerBase
from detectron2.utils.events import JSONWriter
from hypothesis import given
from hypothesis import strategies as st
from matplotlib import pyplot
from PIL import Image

from dab_detr.visualization import curves
from dab_detr.visualization.curves import CurvesHook, draw_metrics, plot_losses, read_metrics


class Training(TrainerBase):
    """Detectron2's loop and writers, with a loss that falls; `fails` is the iteration it fails at."""

    def __init__(self, folder, *, shift=0.0, fails=None, period=0):
        super().__init__()
        self.shift, self.fails = shift, fails
        self.register_hooks(
            [
                EvalHook(3, lambda: {"bbox": {"AP": 10.0 + self.iter + self.shift}}),
                PeriodicWriter([JSONWriter(str(folder / "metrics.json"))], period=4),
                CurvesHook(output_dir=folder, period=period),
            ]
        )

    def run_step(self):
        if self.iter == self.fails:
            raise FloatingPointError("loss is infinite")
        loss = 100.0 - self.iter + self.shift
        names = ("total_loss", "loss_ce", "loss_bbox", "loss_giou", "loss_ce_0")
        self.storage.put_scalars(**dict.fromkeys(names, loss), lr=1e-4, smoothing_hint=False)


def write(folder, *records):
    path = folder / "metrics.json"
    path.write_text("".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in records))
    return path


def lines_of(series) -> dict[str, list]:
    """What is drawn in each of the axes, by title."""
    return {
        axes.get_title(): [(line.get_label(), list(line.get_xdata())) for line in axes.lines]
        for axes in draw_metrics(series).axes
    }


def test_a_run_of_detectron2(tmp_path):
    Training(tmp_path).train(0, 12)
    series = read_metrics(tmp_path / "metrics.json")
    assert series["total_loss"] == [(3, 97.0), (7, 93.0), (11, 89.0)]
    assert series["bbox/AP"] == [(2, 12.0), (5, 15.0), (8, 18.0), (12, 22.0)]
    assert lines_of(series) == {
        "total loss of all layers": [("total_loss", [3, 7, 11])],
        "weighted losses of the last layer": [
            (label, [3, 7, 11]) for label in ("loss_ce (classification)", "loss_bbox (L1)", "loss_giou (1 - GIoU)")
        ],
        "learning rate": [("lr", [3, 7, 11])],
        "AP on the validation set": [("bbox/AP", [2, 5, 8, 12])],
    }
    with Image.open(tmp_path / "curves.png") as picture:
        assert min(picture.size) > 600
    assert pyplot.get_fignums() == []


def test_resumed_run_counts(tmp_path):
    with pytest.raises(FloatingPointError):
        Training(tmp_path, fails=14).train(0, 20)
    Training(tmp_path, shift=0.5).train(8, 16)
    series = read_metrics(tmp_path / "metrics.json")
    assert series["total_loss"] == [(3, 97.0), (7, 93.0), (11, 89.5), (15, 85.5)]
    assert series["bbox/AP"] == [(2, 12.0), (5, 15.0), (11, 21.5), (14, 24.5), (16, 26.5)]


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), min_size=1, max_size=6))
def test_iterations_always_ascend(tmp_path_factory, runs):
    """However often a training was resumed from wherever, the last run is drawn whole and nothing behind it."""
    folder = tmp_path_factory.mktemp("runs")
    records = [{"iteration": i, "lr": run} for run, (start, n) in enumerate(runs) for i in range(start, start + n)]
    points = read_metrics(write(folder, *records))["lr"]
    assert [i for i, _ in points] == sorted({i for i, _ in points})
    start, length = runs[-1]
    assert points[-length:] == [(i, len(runs) - 1) for i in range(start, start + length)]


def test_damaged_lines_are_passed_over(tmp_path):
    good = [{"iteration": i, "total_loss": 1.0, "eval": "text", "flag": None} for i in range(2)]
    path = write(tmp_path, good[0], '{"iteration": 9, "total_l', "[1]", "3", "", '{"total_loss": 1}', good[1])
    assert read_metrics(path) == {"total_loss": [(0, 1.0), (1, 1.0)]}


def test_values_that_are_not_finite_leave_gaps(tmp_path):
    losses = [5.0, math.nan, math.inf, 3.0, 2.0, 1.0]
    path = write(tmp_path, *({"iteration": i, "total_loss": x, "bbox/AP": math.nan} for i, x in enumerate(losses)))
    total, _, _, precision = draw_metrics(read_metrics(path)).axes
    assert total.get_title() == "total loss of all layers; 2 values are not finite"
    assert [math.isnan(y) for y in total.lines[0].get_ydata()] == [False, True, True, False, False, False]
    assert precision.get_title() == "AP on the validation set; 6 values are not finite"
    assert plot_losses(path, tmp_path / "curves.png") == tmp_path / "curves.png"


def test_missing_metrics_are_said_to_be_missing(tmp_path):
    figure = draw_metrics(read_metrics(write(tmp_path, {"iteration": 19, "total_loss": 3.0, "lr": 0.1})))
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == [
        [],
        ["not in the metrics"],
        [],
        ["not in the metrics"],
    ]
    assert figure.axes[0].lines[0].get_marker() == "o", "a single point is visible"


def test_several_validation_sets(tmp_path):
    path = write(tmp_path, {"iteration": 1, "total_loss": 1.0, "a/bbox/AP": 3.0, "b/bbox/AP": 4.0, "a/bbox/AP50": 9.0})
    precision = draw_metrics(read_metrics(path)).axes[3]
    assert [text.get_text() for text in precision.get_legend().get_texts()] == ["a/bbox/AP", "b/bbox/AP", "a/bbox/AP50"]


@pytest.mark.parametrize("content", [None, "", '{"iteration": 1, "lr": 1}\n'])
def test_nothing_to_draw(tmp_path, caplog, content):
    path = tmp_path / "metrics.json"
    if content is not None:
        path.write_text(content)
    assert plot_losses(path, tmp_path / "curves.png") is None
    assert not (tmp_path / "curves.png").exists()
    assert "metrics.json has no total_loss" in caplog.text


def test_hook_draws_also_after_a_failure_and_in_every_period(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(curves, "plot_losses", lambda *paths: drawn.append(paths))
    with pytest.raises(FloatingPointError):
        Training(tmp_path, period=5, fails=12).train(0, 20)
    assert drawn == [(tmp_path / "metrics.json", tmp_path / "curves.png")] * 3
    monkeypatch.setattr(curves.comm, "is_main_process", lambda: False)
    Training(tmp_path, period=5).train(0, 10)
    assert len(drawn) == 3


def test_validation_loss_and_ap50_are_drawn(tmp_path):
    values = {"validation/total_loss": 2.0, "ema/validation/total_loss": 1.9, "bbox/AP": 3.0, "bbox/AP50": 9.0}
    path = write(tmp_path, {"iteration": 1, "total_loss": 1.0, "validation/loss_ce": 1.0, **values})
    total, _, _, precision = draw_metrics(read_metrics(path)).axes
    labels = [text.get_text() for text in total.get_legend().get_texts()]
    assert labels == ["total_loss", "validation/total_loss", "ema/validation/total_loss"]
    assert [text.get_text() for text in precision.get_legend().get_texts()] == ["bbox/AP", "bbox/AP50"]


def test_ticks_are_whole_iterations(tmp_path):
    records = [{"iteration": i, "total_loss": 1.0, "bbox/AP": 3.0} for i in (19, 20, 21)]
    figure = draw_metrics(read_metrics(write(tmp_path, *records)))
    figure.savefig(tmp_path / "curves.png")
    assert all(float(tick).is_integer() for axes in figure.axes for tick in axes.get_xticks())


def test_a_failure_to_draw_is_a_warning(tmp_path, monkeypatch, caplog):
    def fail(*paths):
        raise RuntimeError("no canvas")

    monkeypatch.setattr(curves, "plot_losses", fail)
    Training(tmp_path).train(0, 3)
    assert "curves.png could not be drawn (RuntimeError: no canvas)" in caplog.text
