"""The average of the weights: its rule, its buffers, its place in checkpoints, and that evaluation has both."""

from contextlib import suppress

import pytest
import torch
from detectron2.engine import HookBase, SimpleTrainer
from torch import nn

import train_net
from counting import Linear
from dab_detr.checkpoint.checkpointer import DABDETRCheckpointer
from dab_detr.engine import evaluation, training
from dab_detr.engine.ema import FinalAverage, UpdateAverage, WeightAverage, checkpointables, weight_average
from dab_detr.engine.stopping import FINAL, Stopped, Stopping
from tiny import LAZY, arguments, lazy_opts


def weights(model: nn.Module) -> torch.Tensor:
    return torch.cat([x.detach().double().flatten() for x in model.state_dict().values()])


def test_rule():
    """min(decay, (1 + n) / (10 + n)) of what it was, on weights and on statistics, from the first weights on."""
    model = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
    average = WeightAverage(model, decay=0.3)
    average.begin(model)
    expected = {name: x.clone() for name, x in model.state_dict().items() if x.is_floating_point()}
    for n in range(1, 6):
        with torch.no_grad():
            for x in model.state_dict().values():
                x.copy_(torch.randn_like(x) if x.is_floating_point() else x + 1)
        average.update_parameters(model)
        keep = min(0.3, (1 + n) / (10 + n))
        for name, x in expected.items():
            x.copy_(keep * x + (1 - keep) * model.state_dict()[name])
    found = average.module.state_dict()
    assert set(expected) == {"0.weight", "0.bias", "1.weight", "1.bias", "1.running_mean", "1.running_var"}
    for name, x in expected.items():
        torch.testing.assert_close(found[name], x)


def test_the_average_takes_no_gradient_and_leaves_the_model_alone():
    model = nn.Linear(3, 2)
    average = WeightAverage(model, decay=0.5)
    assert all(x.requires_grad for x in model.parameters())
    assert not any(x.requires_grad for x in average.parameters())
    before = weights(model)
    average.update_parameters(model)
    assert torch.equal(weights(model), before)


@pytest.mark.parametrize("decay", [0, 1, 2])
def test_decay_that_is_none(decay):
    with pytest.raises(ValueError, match=rf"train\.ema\.decay .* got {decay}"):
        weight_average(nn.Linear(1, 1), enabled=True, decay=decay)


def test_off_by_default():
    assert weight_average(nn.Linear(1, 1)) is None and checkpointables(None) == {}


class StopAt(HookBase):
    """As early stopping does, after the step with this number."""

    def __init__(self, iteration: int, stopping: Stopping):
        self.iteration, self.stopping = iteration, stopping

    def after_step(self) -> None:
        if self.trainer.iter == self.iteration:
            self.stopping.ask("enough", name=FINAL)


def trained(folder, start, stop, resume=False, stop_at=None) -> tuple[nn.Module, WeightAverage]:
    folder.mkdir(exist_ok=True)
    torch.manual_seed(start)
    model = Linear(2, 1)
    average = WeightAverage(model, decay=0.9)
    trainer = SimpleTrainer(model, [torch.ones(1, 2)] * 9, torch.optim.SGD(model.parameters(), lr=0.1))
    checkpointer = DABDETRCheckpointer(model, str(folder), trainer=trainer, **checkpointables(average))
    stopping = Stopping(checkpointer)
    final = FinalAverage(average, checkpointer, stopping)
    trainer.register_hooks([UpdateAverage(average, model), final, StopAt(stop_at, stopping), stopping])
    checkpointer.resume_or_load("", resume=resume)
    with suppress(Stopped):
        trainer.train(start, stop)
    checkpointer.save("model_last")
    return model, average


def test_a_resumed_average_is_the_same(tmp_path):
    whole = trained(tmp_path / "whole", 0, 6)[1]
    trained(tmp_path / "cut", 0, 3)
    cut = trained(tmp_path / "cut", 3, 6, resume=True)[1]
    assert torch.equal(weights(whole), weights(cut)) and whole.n_averaged == cut.n_averaged == 7


def test_the_average_is_saved_beside_the_weights_and_alone_at_the_end(tmp_path):
    model, average = trained(tmp_path, 0, 4)
    both, alone = torch.load(tmp_path / "model_last.pth"), torch.load(tmp_path / "model_final_ema.pth")
    assert torch.equal(both["model"]["weight"], model.weight)
    assert torch.equal(both["ema"]["module.weight"], average.module.weight)
    assert torch.equal(alone["model"]["weight"], average.module.weight)
    assert not torch.equal(model.weight, average.module.weight)
    assert (tmp_path / "last_checkpoint").read_text() == "model_last.pth"


def test_the_average_is_saved_alone_when_a_training_stops_early(tmp_path):
    average = trained(tmp_path, 0, 6, stop_at=2)[1]
    alone = torch.load(tmp_path / "model_final_ema.pth")
    assert alone["iteration"] == 2 and torch.equal(alone["model"]["weight"], average.module.weight)
    assert average.n_averaged == 4


def test_evaluation_says_where_there_is_no_average(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(training.logger, "warning", lambda text, *args: said.append(text % args))

    def run(*flags_and_more):
        args = arguments("--config-file", LAZY, *flags_and_more)
        train_net.train(args)

    run(*lazy_opts(tmp_path), "train.max_iter=1")
    said.clear()
    run("--eval-only", "--resume", *lazy_opts(tmp_path), "train.ema.enabled=True")
    assert [text for text in said if "model_final.pth has no moving average" in text]


def test_evaluations_have_both(tmp_path, monkeypatch):
    """Each with its own weights: in training, with --eval-only from the same checkpoint, and with the average alone."""
    seen = []
    original = evaluation.inference_on_dataset
    monkeypatch.setattr(
        evaluation, "inference_on_dataset", lambda *args: seen.append(weights(args[0])) or original(*args)
    )
    opts = lazy_opts(tmp_path)

    def run(*more, flags=()):
        seen.clear()
        args = arguments("--config-file", LAZY, *flags, *opts, *more)
        results = train_net.train(args)
        return results, list(seen)

    trained, (average, raw) = run("train.ema.enabled=True")
    assert set(trained) == {"bbox", "ema"} and set(trained["ema"]) == {"bbox"}
    assert not torch.equal(average, raw)
    again = run("train.ema.enabled=True", flags=["--eval-only", "--resume"])[1]
    assert torch.equal(again[0], average) and torch.equal(again[1], raw)
    alone_file = f"train.init_checkpoint={tmp_path}/output/model_final_ema.pth"
    (alone,) = run(alone_file, flags=["--eval-only"])[1]
    assert torch.equal(alone, average)
    written = (tmp_path / "output/metrics.json").read_text()
    assert '"ema/bbox/AP"' in written and '"bbox/AP"' in written
    for folder in ("inference", "inference_ema"):
        assert (tmp_path / "output" / folder / "classes.csv").is_file(), "one report would overwrite the other"
