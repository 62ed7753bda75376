"""One effective batch, however it is made: in one go, in micro-batches, in processes, in micro-batches of processes."""

import json

import pytest
import torch
from detectron2.config import instantiate
from detectron2.utils import comm
from torch import multiprocessing

from dab_detr.engine.device import distribute
from dab_detr.engine.loop import TrainingLoop, check_batch_size, micro_batches
from dab_detr.engine.optimizer import ClippedAdamW, parameter_groups
from dab_detr.models import dab_detr, detr, dino
from samples import random_input
from tiny import shrink, tell_apart, with_heads

STEPS = 3
OBJECTS = {
    "some": [3, 0, 2, 1, 0, 0, 4, 1],
    "none in the second process": [3, 0, 2, 0, 1, 0, 12, 0],  # 12 are more than the 10 queries
    "one in all": [1, 0, 0, 0, 0, 0, 0, 0],
}
MODELS = {
    "dab_detr": dab_detr,
    "dn_dab_detr": dab_detr,
    "detr": detr,
    "co_dino": lambda: with_heads(dino()),
    "dab_detr recomputed": dab_detr,
}
RECOMPUTED = ("dab_detr recomputed", "some")  # with activation checkpointing
CUTS = {"8 = 4 x 2": (1, 2), "2 processes": (2, 1), "2 processes x 2": (2, 2), "8 = 3 + 3 + 2": (1, 3)}
CASES = [
    ("dab_detr", "some"),
    ("dab_detr", "one in all"),
    ("dn_dab_detr", "none in the second process"),
    ("detr", "none in the second process"),
    ("co_dino", "none in the second process"),
]


def batches(objects: str) -> list[list[dict]]:
    """The same for all: batches of equal-size images, each image with its own random choices."""
    torch.manual_seed(3)
    counts = OBJECTS[objects]
    return [
        [random_input(64, 64, objects=n, seed=100 * step + i, file_name=f"{i}.png") for i, n in enumerate(counts)]
        for step in range(STEPS)
    ]


def model_of(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    node = shrink(MODELS[name]())
    node.num_classes, node.encoder.dropout = 7, 0.0
    if name.startswith("dn"):
        node.denoising.groups = 3
    node.activation_checkpointing = ["backbone", "encoder", "decoder"] if name.endswith("recomputed") else []
    return tell_apart(instantiate(node)).double()


class Watched(TrainingLoop):
    """Keeps the gradients of every step, before they are clipped."""

    def step(self, norm):
        self.gradients = getattr(self, "gradients", [])
        self.gradients.append(
            {n.removeprefix("module."): p.grad.clone() for n, p in self.model.named_parameters() if p.requires_grad}
        )
        super().step(norm)


def loop(model: torch.nn.Module, data: list[list[dict]], **options) -> Watched:
    groups = parameter_groups(model, lr=1e-3, lr_factors={"backbone": 0.1})
    return Watched(distribute(model), data, ClippedAdamW(groups, lr=1e-3, max_norm=0.1), **options)


def trained(name: str, objects: str, accumulate: int, rank: int = 0, processes: int = 1) -> dict:
    """Gradients of every step, weights after the last, the losses that were logged."""
    model = model_of(name)
    watched = loop(model, [batch[rank::processes] for batch in batches(objects)], accumulate=accumulate)
    watched.train(0, STEPS)
    logged = {} if rank else {n: [v for v, _ in watched.storage.history(n).values()] for n in ("total_loss", "loss_ce")}
    return {"gradients": watched.gradients, "weights": model.state_dict(), "losses": logged}


def skipped(rank: int, folder: str) -> dict:
    """A step that is spoilt in the second process alone."""
    model, data = model_of("dab_detr"), [batch[rank::2] for batch in batches("some")]
    if rank == 1:
        data[1][0]["image"] = data[1][0]["image"] * float("nan")
    watched = loop(model, data, output_dir=folder)
    watched.train(0, STEPS)
    return {"weights": model.state_dict(), "skipped": watched.nonfinite.skipped, "taken": len(watched.gradients)}


def worker(rank: int, folder: str) -> None:
    """One of two processes: all that is asked of two."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/start", world_size=2, rank=rank)
    found = {(case, accumulate): trained(*case, accumulate, rank, 2) for case in CASES for accumulate in (1, 2)}
    found[RECOMPUTED, 2] = trained(*RECOMPUTED, 2, rank, 2)
    found["skipped"] = skipped(rank, folder)
    torch.save(found, f"{folder}/rank{rank}")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("two")
    multiprocessing.spawn(worker, (str(folder),), nprocs=2)
    first, second = (torch.load(folder / f"rank{rank}") for rank in range(2))
    reports = [json.loads(x.read_text()) for x in (folder / "nonfinite").iterdir()]
    return first | {"second": second, "reports": reports}


@pytest.fixture(scope="module")
def whole() -> dict:
    return {case: trained(*case, accumulate=1) for case in CASES}


def check_same(found: dict, expected: dict) -> None:
    for ours, gradients in zip(found["gradients"], expected["gradients"], strict=True):
        assert ours.keys() == gradients.keys()
        for name, gradient in gradients.items():
            assert (ours[name] - gradient).norm() <= 1e-9 * gradient.norm() + 1e-12, name
    for name, weight in expected["weights"].items():
        assert (found["weights"][name] - weight).abs().max() <= 1e-8, name
    for name, losses in expected["losses"].items():
        assert found["losses"][name] == pytest.approx(losses, rel=1e-6), name


@pytest.mark.parametrize("cut", CUTS)
@pytest.mark.parametrize("case", CASES, ids=" ".join)
def test_one_step_is_the_same_however_its_batch_is_made(case, cut, whole, two_processes):
    processes, accumulate = CUTS[cut]
    found = two_processes[case, accumulate] if processes == 2 else trained(*case, accumulate)
    check_same(found, whole[case])


def test_activation_checkpointing_changes_nothing(whole, two_processes):
    check_same(trained(*RECOMPUTED, accumulate=2), whole["dab_detr", "some"])
    check_same(two_processes[RECOMPUTED, 2], whole["dab_detr", "some"])


def test_processes_skip_a_step_together(two_processes):
    first, second = two_processes["skipped"], two_processes["second"]["skipped"]
    assert first["skipped"] == second["skipped"] == 1 and first["taken"] == second["taken"] == STEPS - 1
    for name, weight in first["weights"].items():
        assert torch.equal(weight, second["weights"][name]) and weight.isfinite().all()
    (report,) = two_processes["reports"]
    clean, spoilt = report["processes"]
    assert all(x["pixels_finite"] for x in clean["images"]) and clean["losses"][0]["loss_ce"] != "nan"
    assert [x["file_name"] for x in spoilt["images"] if not x["pixels_finite"]] == ["1.png"]
    assert spoilt["losses"][0]["loss_ce"] == "nan"


def test_micro_batches_are_the_batch_in_its_order():
    batch = [{"seed": i} for i in range(8)]
    for number, sizes in ((1, [8]), (2, [4, 4]), (3, [3, 3, 2]), (8, [1] * 8)):
        parts = micro_batches(batch, number)
        assert [len(part) for part in parts] == sizes and sum(parts, []) == batch


@pytest.mark.parametrize("total, accumulate, processes", [(16, 0, 1), (16, 3, 1), (12, 4, 2), (0, 1, 1), (3, 1, 2)])
def test_a_batch_that_cannot_be_cut(total, accumulate, processes, monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: processes)
    with pytest.raises(ValueError, match=r"train\.accumulate"):
        check_batch_size(total, accumulate)


def test_a_batch_that_can_be_cut(monkeypatch):
    monkeypatch.setattr(comm, "get_world_size", lambda: 2)
    check_batch_size(16, 4)


def test_any_optimizer_will_do():
    model = model_of("dab_detr")
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    TrainingLoop(model, batches("some"), optimizer, accumulate=2).train(0, 1)
    assert not torch.equal(before["decoder.class_heads.0.weight"], model.state_dict()["decoder.class_heads.0.weight"])
