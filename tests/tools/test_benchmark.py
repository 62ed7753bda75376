"""benchmarks: every task runs and says what it should, on a small model; the page is filled from its results."""

import argparse
import json
import math
import time
from functools import partial

import pytest
import torch

from benchmarks import __main__ as benchmark
from benchmarks import deployment, measure, report
from benchmarks.curves import draw, exponent, row
from benchmarks.prediction import prediction
from benchmarks.tasks import TASKS, criterion

SMALL = [
    "model.backbone.depth=18",
    "model.backbone.width=4",
    "model.neck.in_channels=32",
    "model.neck.dim=32",
    "model.encoder.num_layers=1",
    "model.decoder.layers.num_layers=2",
    "model.queries.num_queries=30",
    "model.num_classes=5",
    "model.collaboration.rcnn.hidden=16",
]


@pytest.fixture(autouse=True)
def a_small_product(monkeypatch):
    """A CPU without kernels for bf16 takes minutes for the product that finds its peak."""
    monkeypatch.setattr(benchmark, "matrix_peak", partial(measure.matrix_peak, side=64, runs=2))


def arguments(*given: str) -> argparse.Namespace:
    args = benchmark.parse([*given, "--runs", "2", "--size", "64", "64"])
    args.size, args.batch = tuple(args.size), args.batch or 2
    return args


OF_ONE_PRECISION = ("deployment", "explanation")


@pytest.mark.parametrize(
    ("task", "precision"),
    [
        *((task, "fp32") for task in TASKS if task not in ("sampling", *OF_ONE_PRECISION)),
        *((task, "bf16") for task in TASKS if task not in ("collaboration", "sampling", *OF_ONE_PRECISION)),
    ],
)
def test_every_task_has_times_of_all_forms(task, precision):
    result = benchmark.measure(arguments(task, "--precision", precision, "--memory", *SMALL))
    further = {"training": ["dab_detr checkpointing"], "collaboration": ["one head", "two heads"]}
    further |= dict.fromkeys(("inference", "transformer"), ["dab_detr optimized"])
    assert list(result["forms"]) == ["dab_detr", *further.get(task, [])]
    for form in result["forms"].values():
        assert 0 < form["p5_ms"] <= form["median_ms"] <= form["p95_ms"]
        assert form["images_per_s"] == pytest.approx(2000 / form["median_ms"])
        assert form["peak_mb"] >= 0
    assert result["forms"]["dab_detr"]["ratio"] == 1


DEFORMABLE = [
    "--config-file=configs/dab_deformable_detr_r50_50ep.py",
    *(x for x in SMALL if "in_channels" not in x),
    "model.neck.in_channels={res3: 8, res4: 16, res5: 32}",
    "+model.neck.groups=8",
]


def test_deformable_models_are_compared_with_grid_sample():
    for task, further in {"inference": "dab_detr optimized", "training": "dab_detr checkpointing"}.items():
        forms = benchmark.measure(arguments(task, "--batch", "1", *DEFORMABLE))["forms"]
        assert list(forms) == ["dab_detr by grid_sample", "dab_detr", further]


def test_sampling_alone_is_measured_in_cpu_time(monkeypatch):
    monkeypatch.setattr(measure.time, "perf_counter", None)
    forms = benchmark.measure(arguments("sampling", "--cpu-time", *DEFORMABLE))["forms"]
    ways = ["grid_sample", "bags", "grid_sample, with gradients", "bags, with gradients"]
    assert list(forms) == [f"{part}, {way}" for part in ("encoder", "decoder") for way in ways]
    with pytest.raises(ValueError, match="--config-file of a deformable model"):
        benchmark.measure(arguments("sampling", *SMALL))


def test_exported_files_are_compared_with_pytorch(monkeypatch):
    files = {"OpenVINO bf16": ("openvino", "fp32", "bf16")}
    monkeypatch.setattr(deployment, "FILES", files)
    monkeypatch.setattr(deployment, "has_bf16", lambda: True)
    forms = benchmark.measure(arguments("deployment", "--batch", "1", *SMALL))["forms"]
    assert list(forms) == ["PyTorch", "PyTorch optimized", "PyTorch optimized bf16", *files]


def test_without_instructions_for_bf16_it_is_not_timed(monkeypatch):
    monkeypatch.setattr(deployment, "FILES", {"OpenVINO bf16": ("openvino", "fp32", "bf16")})
    monkeypatch.setattr(deployment, "has_bf16", lambda: False)
    args = arguments("deployment", "--batch", "1", *SMALL)
    assert list(deployment.deployment(benchmark.build(args), args)) == ["PyTorch", "PyTorch optimized"]


def test_a_page_is_compared_with_a_prediction():
    forms = benchmark.measure(arguments("explanation", "--batch", "1", *SMALL))["forms"]
    assert list(forms) == ["prediction", "page"]


def test_prediction_is_measured():
    small = "dataloader.test.mapper.augmentations.0.short_edge_length=64"
    forms = prediction(arguments("prediction", "--pictures", "9", *SMALL, small))["forms"]
    assert [form["pictures"] for form in forms.values()] == [9] * 3
    assert all(0 < form["share of waiting"] < 1 for form in forms.values())


def test_against_transformers_the_same_model_is_measured():
    """peer.check_same raises where outputs lie apart; of losses see below."""
    for task in ("inference", "transformer", "training"):
        result = benchmark.measure(arguments(task, "--peer", "--batch", "1", "model.queries.num_queries=10"))
        assert next(iter(result["forms"])) == "transformers"


def test_against_transformers_the_same_deformable_model_is_measured():
    layers = ["model.encoder.num_layers=1", "model.decoder.layers.num_layers=2", "model.queries.num_queries=10"]
    given = ["--peer", "--batch", "1", "--config-file", "configs/deformable_detr_r50_50ep.py", *layers]
    for task in ("transformer", "training"):
        assert next(iter(benchmark.measure(arguments(task, *given))["forms"])) == "transformers"


def test_another_model_than_theirs_is_refused():
    with pytest.raises(ValueError, match="remove --peer"):
        benchmark.measure(arguments("inference", "--peer", "model.queries.num_patterns=3"))


def test_losses_are_those_of_transformers():
    args = arguments("criterion", "--peer", "model.queries.num_queries=10", "model.num_classes=5")
    forms = criterion(benchmark.build(args), args, objects=4)
    ours, theirs = forms["dab_detr"](), forms["transformers"]()
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)


def test_forms_take_turns():
    calls = []
    forms = {name: lambda name=name: calls.append(name) for name in "ab"}
    times = measure.alternate(forms, runs=3, device="cpu", warmup=1)
    assert calls == ["a", "b"] * 4
    assert {name: len(values) for name, values in times.items()} == {"a": 3, "b": 3}


def test_summary_of_known_times():
    found = measure.summary([0.1 * x for x in range(1, 22)], images=2)
    assert found["median_ms"] == pytest.approx(1100) and found["images_per_s"] == pytest.approx(2 / 1.1)
    assert found["p5_ms"] == pytest.approx(200) and found["p95_ms"] == pytest.approx(2000)


def test_products_are_counted():
    a = torch.randn(100, 200)
    assert measure.gmac(lambda: a @ a.T) == pytest.approx(100 * 200 * 100 / 1e9)


def test_peak_memory_is_that_of_the_call():
    found = measure.peak_memory(lambda: torch.ones(64 * 2**18).sum(), "cpu")
    assert 60 * 2**20 < found < 80 * 2**20


def test_slow_forms_are_slower():
    forms = {"slow": lambda: time.sleep(0.02), "fast": lambda: None}
    times = measure.alternate(forms, runs=3, device="cpu")
    assert min(times["slow"]) >= 0.02 > max(times["fast"])


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_exponents_of_powers(power):
    points = {x: 3.0 * x**power for x in (100, 200, 400)}
    assert exponent(points) == pytest.approx(power)
    assert row(points) | {"exponent": power} == {
        "from": 100,
        "to": 400,
        "ms at first": points[100],
        "ms at last": points[400],
        "exponent": power,
    }
    titles = [axes.get_title() for axes in draw({"cost, side": points, "cost, queries": points}).axes]
    assert titles == [f"cost, side:\nexponent {power:.2f}", f"cost, queries:\nexponent {power:.2f}"]


def test_the_page_gets_the_table_and_its_command(tmp_path, monkeypatch):
    result = {"settings": benchmark.settings(arguments("criterion")), "forms": {"ours": measure.summary([0.5], 1)}}
    monkeypatch.setattr(report, "RESULTS", tmp_path)
    (tmp_path / "criterion.json").write_text(json.dumps(result))
    page = "before\n<!-- criterion -->\nold\n<!-- end of criterion -->\nafter <!-- curves --><!-- end of curves -->"
    found = report.filled(page)
    assert "old" not in found and found.startswith("before") and "after" in found
    assert "python -m benchmarks criterion --peer" in found and "| ours | 500.0 |" in found
    assert found.count("Not run yet.") == 1
    assert report.filled(found) == found


def test_a_table_without_times_does_not_speak_of_runs():
    settings = benchmark.settings(arguments("accuracy"))
    timed, other = ({"settings": settings, "forms": {"ours": x}} for x in (measure.summary([0.5], 1), {"AP": 40.0}))
    assert "alternating runs" in report.note(timed) and "alternating runs" not in report.note(other)
    assert settings["config"] in report.note(other) and f"torch {settings['torch']}" in report.note(other)


def test_every_table_of_the_page_is_one_that_can_be_run():
    page = report.PAGE.read_text()
    for name in report.RUNS | report.ON_GPU:
        assert f"<!-- {name} -->" in page and f"<!-- end of {name} -->" in page, name
    for _, line in (report.RUNS | report.ON_GPU).values():
        benchmark.parse(line.split())


def test_a_gpu_that_is_not_there_is_said_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert benchmark.main(["profile", "--device", "cuda"]) == 2
    assert "torch finds no GPU" in capsys.readouterr().err


def test_peaks_are_those_of_products():
    peaks = measure.matrix_peak(torch.float32, "cpu", side=64, runs=2)
    assert all(math.isfinite(value) and value > 0 for value in peaks.values()) and "matmul" in peaks
