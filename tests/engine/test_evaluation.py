"""When a training evaluates: also what a kill has cut short; and which metrics there have to be."""

import pytest
from omegaconf import OmegaConf

from counting import METRIC, count
from dab_detr.engine.early_stopping import EarlyStopping
from dab_detr.engine.evaluation import BEST, EARLY_STOPPING, watched_metrics


def test_every_period_and_at_the_end(tmp_path):
    assert count(tmp_path, [1, 2, 3]).evaluated == [1, 2, 3]


def test_an_evaluation_that_a_kill_cut_short_is_made_on_resume_with_the_same_weights(tmp_path):
    assert count(tmp_path, [1, 2, 3], killed_at=2).evaluated == [1]
    trainer = count(tmp_path, [1, 2, 3], resume=True)
    assert trainer.evaluated == [2, 3]
    assert [(value, i) for value, i in trainer.storage.history(METRIC).values()] == [(2, 3), (3, 6)]


def test_one_that_was_made_is_not_made_again(tmp_path):
    """Where the training was ended after the evaluation, in the same step."""
    stopped = count(tmp_path, [2, 1, 3], lambda _, stopping: [EarlyStopping(stopping, patience=1, metric=METRIC)])
    assert stopped.evaluated == [1, 2]
    assert count(tmp_path, [2, 1, 3], resume=True).evaluated == [3]


def test_a_metric_that_evaluations_do_not_have_is_said(tmp_path, caplog):
    count(tmp_path, [1], **{BEST: METRIC, EARLY_STOPPING: "bbox/AP5"})
    assert "train.early_stopping.metric: there is no metric 'bbox/AP5'; there are ['bbox/AP']" in caplog.text
    assert BEST not in caplog.text


def settings(**changes):
    default = {
        "ema": {"enabled": False},
        "validation_loss": False,
        "best": {"metric": METRIC},
        "early_stopping": {"patience": 0, "metric": METRIC},
    }
    return OmegaConf.merge(default, OmegaConf.from_dotlist([f"{key}={value}" for key, value in changes.items()]))


def test_watched_metrics():
    assert watched_metrics(settings()) == {BEST: METRIC}
    assert watched_metrics(settings(**{"early_stopping.patience": 1, "best.metric": "null"})) == {
        EARLY_STOPPING: METRIC
    }
    assert watched_metrics(settings(**{"best": "null"})) == {}


@pytest.mark.parametrize(
    ("metric", "switch"), [("ema/bbox/AP", "ema.enabled"), ("validation/total_loss", "validation_loss")]
)
def test_a_metric_of_what_is_off(metric, switch):
    with pytest.raises(ValueError, match=rf"train\.best\.metric is '{metric}', which needs train\.{switch}=True"):
        watched_metrics(settings(**{"best.metric": metric}))
    assert watched_metrics(settings(**{"best.metric": metric, switch: True})) == {BEST: metric}
