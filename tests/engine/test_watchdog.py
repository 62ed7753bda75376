"""Each of the four warnings when it is due, provoked in small trainings and by numbers, and silence otherwise."""

import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from detectron2.config import instantiate
from detectron2.engine import HookBase, TrainerBase
from detectron2.utils import comm

import train_net
from coco_files import content, write
from dab_detr.engine import training
from dab_detr.engine.loop import TrainingLoop
from dab_detr.engine.watchdog import MESSAGES, Watchdog
from dab_detr.models import dab_detr
from samples import random_input
from tiny import LAZY, arguments, lazy_opts, shrink, tell_apart

# of the demo after 1,000 iterations, the worst of a run: when the watchdog judges it; and the loss of its first 100
HEALTHY = {"box_spread": 0.15, "logit_spread": 1.0, "match_churn": 30.3, "total_loss": 7.3}
HEALTHY_AP = 12.1
FIRST_LOSS, NAMES = 15.0, ["disc", "oblong", "triangle"]


@pytest.fixture(autouse=True)
def logs_reach_the_test(monkeypatch):
    """Detectron2 keeps those of packages that it has set up from everyone else."""
    monkeypatch.setattr(logging.getLogger("dab_detr"), "propagate", True)


class Numbers(TrainerBase):
    """A training of which only its scalars are there; half of the iterations are the first of it."""

    def __init__(self, **scalars):
        super().__init__()
        self.scalars, self.batch = HEALTHY | scalars, []

    def run_step(self):
        early = {"total_loss": FIRST_LOSS} if self.iter < 10 else {}
        self.storage.put_scalars(**self.scalars | early)


class Evaluated(HookBase):
    """Finds this AP after the last step, as EvalHook does."""

    def __init__(self, ap: float):
        self.ap = ap

    def after_train(self):
        self.trainer.storage.put_scalars(**{"bbox/AP": self.ap}, smoothing_hint=False)


def said(caplog, start: int = 0, ap: float = HEALTHY_AP, **scalars) -> list[str]:
    trainer = Numbers(**scalars)
    trainer.register_hooks([Evaluated(ap), Watchdog(images=None, class_names=NAMES, patience=20, window=10)])
    trainer.train(start, start + 20)
    return [record.getMessage() for record in caplog.records if "Watchdog" in record.getMessage()]


def test_it_is_silent_on_the_demo(caplog):
    assert said(caplog) == []


@pytest.mark.parametrize("margin", [1.0, 2.5])
def test_it_is_silent_with_a_margin(margin, caplog):
    numbers = {name: value / margin for name, value in HEALTHY.items() if name.endswith("spread")}
    assert said(caplog, ap=HEALTHY_AP / margin, match_churn=30.3 * margin, total_loss=FIRST_LOSS, **numbers) == []


@pytest.mark.parametrize(
    "scalars, expected",
    [
        ({"box_spread": 0.004}, "nearly the same boxes (box_spread is 0.004"),
        ({"logit_spread": 0.004, "match_churn": 99.0}, "nearly the same classes (logit_spread is 0.004"),
        ({"match_churn": 95.0}, "find 95 % of the objects with different queries"),
        ({"ap": 0.02}, "The loss has fallen from 15 to 7.3, but AP is 0.02"),
    ],
)
def test_one_cause_one_warning(scalars, expected, caplog):
    (warning,) = said(caplog, **scalars)
    assert expected in warning


def test_no_ap_without_a_falling_loss_is_no_news(caplog):
    assert said(caplog, ap=0.0, total_loss=14.0) == []


def test_a_training_that_is_resumed_is_not_watched(caplog):
    assert said(caplog, start=10, ap=0.0, box_spread=0.0) == []


def test_a_model_without_these_numbers_is_not_watched_for_them(caplog):
    trainer = Numbers()
    trainer.scalars = {"total_loss": 7.3}
    trainer.register_hooks([Watchdog(images=None, class_names=[], patience=20)])
    trainer.train(0, 20)
    assert "Watchdog" not in caplog.text


def watched(model: torch.nn.Module, caplog) -> list[str]:
    """What is said of a small detector that learns too little to change."""
    torch.manual_seed(0)
    batch = [random_input(64, 64, objects=4) for _ in range(2)]
    loop = TrainingLoop(model, [batch] * 4, torch.optim.SGD(model.parameters(), lr=1e-9))
    loop.register_hooks([Watchdog(images=None, class_names=NAMES, patience=4)])
    loop.train(0, 4)
    return [record.getMessage() for record in caplog.records if "Watchdog" in record.getMessage()]


def detector() -> torch.nn.Module:
    node = shrink(dab_detr())
    node.num_classes = 7
    return tell_apart(instantiate(node))


@torch.no_grad()
def collapse(model: torch.nn.Module) -> None:
    for parameter in model.queries.parameters():
        parameter.copy_(parameter[:1].expand_as(parameter))


def let_layers_disagree(model: torch.nn.Module) -> None:
    """Every query of the last layer answers what the one beside it did before."""

    def shifted(layers: torch.Tensor) -> torch.Tensor:
        return torch.cat([layers[:-1], layers[-1:].roll(1, 2)])

    model.decoder.register_forward_hook(
        lambda module, inputs, x: replace(x, logits=shifted(x.logits), boxes=shifted(x.boxes))
    )
    with torch.no_grad():  # so that classes differ by query, as they should
        for parameter in model.decoder.class_heads.parameters():
            parameter.mul_(10)


def test_collapsed_queries(caplog):
    model = detector()
    collapse(model)
    (warning,) = watched(model, caplog)
    assert "they have collapsed into one" in warning and "learning rate" in warning


def test_matcher_churn(caplog):
    model = detector()
    let_layers_disagree(model)
    (warning,) = watched(model, caplog)
    assert "the matching does not settle" in warning


def test_a_class_that_never_matches_and_ap_0_with_falling_loss(tmp_path, monkeypatch):
    """A dataset without objects of its last class, and another that has its boxes elsewhere to evaluate on."""
    opts = lazy_opts(tmp_path)
    data = content()
    data["annotations"] = [x for x in data["annotations"] if x["category_id"] != 3]
    write(tmp_path, "train", data)
    elsewhere = content()
    for x in elsewhere["annotations"]:
        x["bbox"] = [17, 7, 1, 2]
    write(tmp_path, "val", elsewhere)
    monkeypatch.setattr(
        training,
        "watchdog",
        lambda loader, _: Watchdog(images=len(loader.visits), class_names=NAMES, patience=30, window=3),
    )
    train_net.train(arguments("--config-file", LAZY, *opts, "train.max_iter=30", "optimizer.lr=6e-3"))
    log = Path(tmp_path, "output", "log.txt").read_text()
    warnings = [line for line in log.splitlines() if "Watchdog" in line]
    assert len(warnings) == 2
    assert "no query was ever matched with an object of triangle" in warnings[0]
    assert "but AP is" in warnings[1] and "shifted by one" in warnings[1]


@pytest.mark.parametrize("elsewhere, expected", [({2}, []), (set(), ["triangle"])])
def test_classes_of_all_processes_count(elsewhere, expected, monkeypatch, caplog):
    gathered = []

    def all_gather(seen):
        gathered.append(set(seen))
        return [seen, elsewhere]

    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(comm, "all_gather", all_gather)
    trainer = Numbers()
    trainer.batch = [random_input(8, 8, objects=2) for _ in range(3)]
    for x, classes in zip(trainer.batch, ([0, 0], [0, 1], [1, 1]), strict=True):
        x["instances"].gt_classes = torch.tensor(classes)
    trainer.register_hooks([Watchdog(images=14, class_names=NAMES, patience=99)])
    trainer.train(0, 5)
    assert gathered == [{0, 1}]  # once, when the 14 images have been shown in three steps of six
    assert [name for name in NAMES if name in caplog.text] == expected


def test_every_message_names_a_cause_and_a_way_out():
    assert all(any(word in text for word in ("Most likely", "Check")) for text in MESSAGES.values())
