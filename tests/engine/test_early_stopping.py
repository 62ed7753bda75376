"""Early stopping: after how many evaluations, by how much, in either direction, and over resume."""

import pytest
import torch

from counting import METRIC, count
from dab_detr.engine.early_stopping import EarlyStopping


def hook(**options):
    options = {"metric": METRIC, "patience": 2, **options}
    return lambda _, stopping: [EarlyStopping(stopping, **options)]


@pytest.mark.parametrize(
    ("values", "options", "evaluations"),
    [
        ([1, 2, 3, 4, 5, 6], {}, None),
        ([3, 2, 2, 1, 9, 9], {}, 3),
        ([3, 2, 4, 3, 4, 9], {}, 5),  # patience begins anew with every better one; the same is not better
        ([3, 2, 1, 1, 2, 0], {"mode": "min"}, 5),
        ([3, 2, 2, 2, 9, 9], {"patience": 3}, 4),
        ([1, 1.1, 1.2, 1.3, 1.4, 1.5], {"patience": 3, "min_delta": 0.25}, None),
        ([1, 1.1, 1.2, 1.3, 1.4, 1.5], {"patience": 3, "min_delta": 0.35}, 4),
        ([1, 0.9, 0.8, 0.7, 0.6, 0.5], {"patience": 3, "min_delta": 0.35, "mode": "min"}, 4),
    ],
)
def test_after_how_many_evaluations(values, options, evaluations, tmp_path):
    trainer = count(tmp_path, values, hook(**options))
    assert trainer.stopped == (evaluations is not None)
    assert trainer.evaluated == list(range(1, (evaluations or len(values)) + 1))
    final = torch.load(tmp_path / "model_final.pth")
    assert final["model"]["weight"] == 2 * len(trainer.evaluated)


@pytest.mark.parametrize("killed_at", [1, 2, 3])
def test_patience_is_kept_over_resume(killed_at, tmp_path):
    values = [3, 2, 2, 9, 9]
    count(tmp_path, values, hook(), killed_at=killed_at)
    trainer = count(tmp_path, values, hook(), resume=True)
    assert trainer.stopped and trainer.evaluated[-1] == 3


def test_what_has_stopped_does_not_go_on_unless_patience_is_raised(tmp_path):
    values = [3, 2, 2, 9, 9]
    count(tmp_path, values, hook())
    again = count(tmp_path, values, hook(), resume=True)
    assert again.stopped and not again.evaluated and again.iter == 6
    more = count(tmp_path, values, hook(patience=3), resume=True)
    assert not more.stopped and more.evaluated == [4, 5]


@pytest.mark.parametrize("options", [{"patience": -1}, {"min_delta": -0.1}, {"mode": "up"}])
def test_what_cannot_be(options):
    with pytest.raises(ValueError, match=r"train\.early_stopping.*-?\d|up"):
        hook(**options)(None, None)
