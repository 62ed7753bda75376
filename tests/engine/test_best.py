"""The best checkpoint: by any metric, in either direction, with the right weights, and over resume."""

import math

import pytest
import torch

from counting import METRIC, Linear, count
from dab_detr.checkpoint.checkpointer import DABDETRCheckpointer
from dab_detr.engine.best import BestCheckpoint
from dab_detr.engine.ema import WeightAverage


def best(folder) -> tuple[float, float]:
    """The value and the weight of the best checkpoint."""
    content = torch.load(folder / "model_best.pth")
    return content["best"][METRIC], content["model"]["weight"].item()


def hook(folder, **options):
    options = {"metric": METRIC, **options}
    return lambda model, _: [BestCheckpoint(DABDETRCheckpointer(model, str(folder)), None, **options)]


@pytest.mark.parametrize(
    ("values", "mode", "number"),
    [([1, 3, 2], "max", 2), ([1, 3, 2], "min", 1), ([1, 2, 3], "max", 3), ([2, 2, 2], "max", 1)],
)
def test_the_first_best_is_kept_with_its_weights(values, mode, number, tmp_path):
    count(tmp_path, values, hook(tmp_path, mode=mode))
    assert best(tmp_path) == (values[number - 1], 2 * number)
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"


@pytest.mark.parametrize("content", [b"", b"not a checkpoint"])
def test_a_damaged_best_is_replaced(content, tmp_path, caplog):
    (tmp_path / "model_best.pth").write_bytes(content)
    count(tmp_path, [1], hook(tmp_path), resume=True)
    assert best(tmp_path)[0] == 1 and "model_best.pth cannot be read" in caplog.text


def test_a_value_that_is_not_finite_is_none(tmp_path):
    count(tmp_path, [math.nan, 1, math.inf, math.nan], hook(tmp_path))
    assert best(tmp_path) == (1, 4)


@pytest.mark.parametrize("killed_at", [1, 2, 3, 4])
@pytest.mark.parametrize("values", [[1, 4, 3, 2], [4, 3, 2, 1], [1, 2, 3, 4]])
def test_a_kill_during_any_evaluation_changes_nothing(values, killed_at, tmp_path):
    count(tmp_path, values, hook(tmp_path), killed_at=killed_at)
    trainer = count(tmp_path, values, hook(tmp_path), resume=True)
    assert trainer.evaluated == list(range(killed_at, 5))
    assert best(tmp_path) == (4, 2 * (values.index(4) + 1))


def test_a_better_one_of_later_steps_is_not_overwritten(tmp_path):
    """A training resumed from before its best checkpoint, and which goes another way than before."""
    count(tmp_path, [1, 2, 9, 5], hook(tmp_path), killed_at=4)
    (tmp_path / "last_checkpoint").write_text("model_0000004.pth")
    count(tmp_path, [1, 2, 8, 5], hook(tmp_path), resume=True)
    assert best(tmp_path) == (9, 6)


def test_a_training_from_the_start_has_a_best_of_its_own(tmp_path):
    count(tmp_path, [9], hook(tmp_path))
    count(tmp_path, [1, 2], hook(tmp_path))
    assert best(tmp_path) == (2, 4)


def test_the_best_by_another_metric_is_replaced_and_that_is_said(tmp_path, caplog):
    count(tmp_path, [9, 1], hook(tmp_path), killed_at=2)
    content = torch.load(tmp_path / "model_best.pth")
    torch.save({**content, "best": {"bbox/AP50": 90}}, tmp_path / "model_best.pth")
    count(tmp_path, [9, 1], hook(tmp_path), resume=True)
    assert best(tmp_path) == (1, 4)
    assert "best by another metric (bbox/AP50)" in caplog.text


def test_of_a_metric_of_the_average_the_average_is_saved(tmp_path):
    average = WeightAverage(Linear(1, 1), decay=0.5)
    checkpointer = DABDETRCheckpointer(Linear(1, 1), str(tmp_path), description=lambda: {"metrics": {}})
    found = BestCheckpoint(checkpointer, average, metric="ema/bbox/AP").checkpointer
    assert found.model is average.module
    assert (found.save_dir, found.description()) == (str(tmp_path), {"metrics": {}})


def test_a_mode_that_is_none(tmp_path):
    with pytest.raises(ValueError, match=r"train\.best\.mode must be 'max' or 'min', got 'best'"):
        hook(tmp_path, mode="best")(Linear(1, 1), None)
