"""Epochs in place of iterations, and warm-up."""

import pytest
from detectron2.config import LazyCall as L
from fvcore.common.param_scheduler import MultiStepParamScheduler
from omegaconf import OmegaConf

from dab_detr.engine.schedule import check_iterations, count_in_epochs, with_warmup


def pictures(number: int) -> list[int]:
    return list(range(number))


def config(images: int = 35, batch: int = 4, **train):
    settings = {"max_iter": 100, "epochs": 3, "eval_period": 50, "checkpointer": {"period": 50, "max_to_keep": 3}}
    loader = {"dataset": L(pictures)(number=images), "total_batch_size": batch}
    return OmegaConf.create({"train": {**settings, **train}, "dataloader": {"train": loader}})


def lengths(cfg) -> tuple[int, int, int]:
    return cfg.train.max_iter, cfg.train.eval_period, cfg.train.checkpointer.period


def test_epochs_are_of_full_batches():
    cfg = config()
    count_in_epochs(cfg, [])
    assert lengths(cfg) == (24, 8, 8)
    assert cfg.train.epochs is None  # so that the saved config is the same training


@pytest.mark.parametrize(("train", "expected"), [({"epochs": 0.5}, 4), ({"epochs": 1.5}, 12), ({"epochs": 0.01}, 1)])
def test_parts_of_epochs(train, expected):
    cfg = config(**train)
    count_in_epochs(cfg, [])
    assert cfg.train.max_iter == expected


def test_fewer_images_than_a_batch():
    cfg = config(images=3)
    count_in_epochs(cfg, [])
    assert lengths(cfg) == (3, 1, 1)


def test_periods_that_the_user_gives_stay():
    cfg = config()
    count_in_epochs(cfg, ["train.eval_period"])
    assert lengths(cfg) == (24, 50, 8)


def test_without_epochs_nothing_changes():
    cfg = config(epochs=None)
    before = cfg.copy()
    count_in_epochs(cfg, [])
    assert cfg == before


@pytest.mark.parametrize("epochs", [0, -1])
def test_not_positive(epochs):
    with pytest.raises(ValueError, match=f"train.epochs must be positive, got {epochs}"):
        count_in_epochs(config(epochs=epochs), [])


def test_epochs_and_iterations_are_one_too_many():
    with pytest.raises(ValueError, match=r"train\.epochs and train\.max_iter"):
        count_in_epochs(config(), ["train.epochs", "train.max_iter"])


def test_warmup_rises_evenly_to_the_schedule():
    schedule = MultiStepParamScheduler([1.0, 0.1], milestones=[80], num_updates=100)
    warmed = with_warmup(schedule, 10, 100)
    factors = [warmed(i / 100) for i in range(100)]
    assert factors[0] == pytest.approx(0.001)
    steps = [b - a for a, b in zip(factors[:10], factors[1:11], strict=True)]
    assert steps == pytest.approx([0.0999] * 10, abs=1e-4)
    assert factors[10:] == [schedule(i / 100) for i in range(10, 100)]


def test_without_warmup_the_schedule_is_the_config_s():
    schedule = MultiStepParamScheduler([1.0], num_updates=10)
    assert with_warmup(schedule, 0, 100) is schedule


@pytest.mark.parametrize("iterations", [-1, 100, 101])
def test_warmup_that_cannot_be(iterations):
    with pytest.raises(
        ValueError, match=rf"train\.warmup_iters .* less than train\.max_iter \(100\), got {iterations}"
    ):
        with_warmup(MultiStepParamScheduler([1.0], num_updates=10), iterations, 100)


@pytest.mark.parametrize(
    ("train", "overridden", "period"),
    [
        ({"eval_period": 20}, [], 20),
        ({"eval_period": 200}, [], 50),
        ({"eval_period": 0}, [], 50),
        ({"eval_period": 20}, ["train.checkpointer.period"], 50),
    ],
)
def test_checkpoints_are_as_frequent_as_evaluations(train, overridden, period):
    cfg = config(epochs=None, **train)
    check_iterations(cfg, overridden)
    assert cfg.train.checkpointer.period == period


@pytest.mark.parametrize("iterations", ["abc", 0, -5, 2.5])
def test_a_training_needs_iterations(iterations):
    with pytest.raises(ValueError, match=rf"train\.max_iter must be a whole number from 1 on, got {iterations!r}"):
        check_iterations(config(epochs=None, max_iter=iterations), [])
