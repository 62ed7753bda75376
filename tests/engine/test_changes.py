"""A resumed training does what its command says: settings that may change take effect, others are refused."""

import logging

import pytest
import torch

import train_net
from tiny import LAZY, arguments, configured, lazy_opts


def command(tmp_path, *more):
    return ["--config-file", str(LAZY), *lazy_opts(tmp_path), *more]


@pytest.fixture(scope="module")
def resumed(tmp_path_factory):
    """The config of a training that would be resumed with these overrides."""
    folder = tmp_path_factory.mktemp("resumed")
    train_net.train(arguments(*command(folder)))
    return lambda *overrides: configured("--resume", *command(folder, *overrides))


@pytest.mark.parametrize(
    "key, old, new",
    [
        ("optimizer.lr", 0.0001, 1e-05),
        ("optimizer.weight_decay", 0.0001, 0.1),
        ("optimizer.max_norm", 0.1, 1.0),
        ("train.max_iter", 4, 9),
        ("train.warmup_iters", 0, 2),
        ("train.ema.decay", 0.9998, 0.9),
        ("train.accumulate", 1, 2),
        ("dataloader.num_workers", 0, 1),
        ("model.criterion.weight_bbox", 5.0, 4.0),
        ("model.precision", "fp32", "bf16"),
    ],
)
def test_what_may_change_is_listed(resumed, caplog, key, old, new):
    with caplog.at_level(logging.INFO):
        resumed(f"{key}={new}")
    assert f"Changed since the last run: {key} from {old} to {new}" in caplog.text


@pytest.mark.parametrize(
    "override",
    [
        "model.queries.num_queries=9",
        "model.decoder.prior.temperature=20",
        "model.neck.position.temperature_x=7",
        "optimizer._target_=own_parts.OwnAdamW",
    ],
)
def test_what_the_weights_depend_on_is_refused(resumed, override):
    key = override.partition("=")[0]
    with pytest.raises(ValueError, match=rf"--resume cannot change {key} from .* to .*train\.output_dir"):
        resumed(override)


def test_nothing_is_said_without_a_change(resumed, caplog):
    with caplog.at_level(logging.INFO):
        resumed()
    assert "Changed since" not in caplog.text


def test_a_folder_without_a_checkpoint_has_nothing_to_keep(tmp_path):
    """Such as that of a training which was killed early: its config.yaml may be of a command that was never checked."""
    configured(*command(tmp_path))
    cfg = configured("--resume", *command(tmp_path, "model.queries.num_queries=9"))
    assert cfg.model.queries.num_queries == 9


def test_a_lower_rate_takes_effect(tmp_path):
    """What the product advises after steps that are not finite."""
    assert train_net.main(command(tmp_path, "train.max_iter=2")) == 0
    changed = ("train.max_iter=4", "optimizer.lr=1e-5", "optimizer.weight_decay=0.5")
    assert train_net.main(["--resume", *command(tmp_path, *changed)]) == 0
    groups = torch.load(tmp_path / "output" / "model_final.pth")["trainer"]["optimizer"]["param_groups"]
    assert {group["weight_decay"] for group in groups} == {0.5}
    assert max(group["initial_lr"] for group in groups) == 1e-5


def test_fewer_iterations_than_are_done_is_a_sentence(tmp_path, capsys):
    train_net.train(arguments(*command(tmp_path)))
    assert train_net.main(["--resume", *command(tmp_path, "train.max_iter=3")]) == 2
    assert "4 iterations are done, and train.max_iter is 3: give 4" in capsys.readouterr().err
    assert train_net.main(["--resume", *command(tmp_path)]) == 0
