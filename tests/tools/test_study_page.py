"""The study's page: its statistics are right, and it follows from the results alone."""

import numpy as np
import pytest

from benchmarks.study.attention import centers, entropy, first_of_queries
from benchmarks.study.figures import averaged
from benchmarks.study.page import build
from benchmarks.study.statistics import Spread, difference, spread, steps_until, verdict
from study_runs import CURVE, result


def photographed(row: str, seed: int, ap: float, cells: float) -> dict:
    """A result on photographs without the run."""
    return result(row, seed) | {"curve": [[100, ap]], "classes": {"cell": cells, "platelet": 10.0}}


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


def test_attention_is_averaged_over_the_steps_that_all_seeds_have():
    found = [[[100, 0.9, 4], [200, 0.7, 3]], [[100, 0.7, 2], [150, 0.1, 9], [200, 0.5, 1]]]
    steps, shares, numbers = averaged(found)
    assert (steps, numbers) == ([100, 200], [3, 2]) and shares == pytest.approx([0.8, 0.6])


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
    assert (
        "| no width and height modulation | 35.9 ± 0.9 (n=3) | -5.1 ± 0.1 (n=3) | 0.000 | less (Table 3) | confirmed |"
        in pages[0]
    )
    assert "Conditional DETR did not reach 20.0 AP in 1 of 1 runs: there it needs over 2.0 times" in pages[0]
    assert "`dino`" in pages[0].partition("Not run: ")[2] and "not compared" not in pages[0]
    assert "Seeds are missing: `conditional_detr` (1 of 3).\n" in pages[0], "other rows have all or are not core rows"
    lonely = build([result("dab_detr", 0), result("detr_sine", 0)], tmp_path / "c" / "study", "cpu")
    assert "Run, but not compared: `detr_sine` (without `detr`)." in lonely


def test_the_page_sums_up_the_claims(tmp_path):
    results = [result("dab_detr", seed, seed) for seed in range(3)] + [result("dn_dab_detr", 0, 2.0)]
    results += [result("no_update", seed, seed - 5.0 - seed * 0.1) for seed in range(3)]
    results += [result("points", seed, seed + 5.0 + seed * 0.1) for seed in range(3)]
    results += [result("layers_2", seed, 3.0 - 2 * seed) for seed in range(3)]
    results += [result("heads_of_layers", 0)]
    short = build(results, tmp_path, "cpu").partition("## The claims in short")[2].partition("##")[0]
    assert short.strip().splitlines() == [
        "- Confirmed:",
        "    - DAB-DETR (no anchor update) has less AP than DAB-DETR: -5.1 ± 0.1 (n=3)",
        "- Contradicted at this size:",
        "    - DAB-DETR (points instead of boxes) has less AP than DAB-DETR: +5.1 ± 0.1 (n=3)",
        "- Neither confirmed nor contradicted at this size:",
        "    - DAB-DETR (2 decoder layers) has less AP than DAB-DETR: +0.0 ± 3.0 (n=3)",
        "- Too few seeds to judge:",
        "    - DAB-DETR (with denoising) has more AP than DAB-DETR: +2.0 (n=1)",
    ]
    nothing = build([result("dab_detr", 0), result("heads_of_layers", 0)], tmp_path, "cpu")
    assert "- Confirmed: none." in nothing


def test_members_of_the_convergence_are_compared_too(tmp_path):
    results = [result(row, seed, shift * seed) for row, shift in (("dab_detr", 1), ("detr", -9)) for seed in range(3)]
    section = build(results, tmp_path, "cpu").partition("## Convergence")[2].partition("##")[0]
    assert "| DAB-DETR | 41.0 ± 1.0 (n=3) | - | - | - | - | 1" in section
    assert "| DETR | 31.0 ± 9.0 (n=3) | -10.0 ± 10.0 (n=3) | 0.225 | less (Figure 1" in section


def test_a_page_needs_the_row_that_others_are_compared_with(tmp_path):
    with pytest.raises(ValueError, match="no run of dab_detr"):
        build([result("points", 0)], tmp_path, "cpu")


def test_the_page_has_a_section_on_photographs(tmp_path):
    photographs = [photographed("dab_detr", seed, 30.0 + seed, 90.0) for seed in range(3)]
    photographs += [photographed("dn_dab_detr", seed, 35.0 + seed * 1.1, 95.0 + seed) for seed in range(3)]
    page = build([result("dab_detr", 0)], tmp_path / "study", "cpu", photographs)
    section = page.partition("## Photographs")[2].partition("##")[0]
    assert "ran 6 trainings" in section and "results_photographs.json" in section
    assert "| DAB-DETR | 31.0 ± 1.0 (n=3) | - | - | - | - | 90.0 ± 0.0 (n=3) | 10.0 ± 0.0 (n=3) |" in section
    assert "| DAB-DETR (with denoising) | 36.1 ± 1.1 (n=3) | +5.1 ± 0.1 (n=3) | 0.000 | more (" in section
    assert ") | confirmed | 96.0 ± 1.0 (n=3)" in section
    assert "- cell: the highest AP50 is 96.0 ± 1.0 (n=3), of DAB-DETR (with denoising)." in section
    assert "## Photographs" not in build([result("dab_detr", 0)], tmp_path / "study", "cpu")


def test_the_page_says_what_trainings_start_from(tmp_path):
    texts = {name: build([result("dab_detr", 0)], tmp_path / name, name) for name in ("cpu", "gpu")}
    assert "backbone of `configs/shapes/dab_detr.py`" in texts["cpu"] and "backbone of" not in texts["gpu"]
    assert "kept in `docs/study/backbone_dab_detr.pth`" in texts["cpu"]


def test_runs_are_compared_with_those_of_the_same_backbone(tmp_path):
    """The backbone "b" is better by 20 for all rows; `conditional_detr` was run with it alone."""
    results = [result("dab_detr", seed, seed) | {"backbone": "a"} for seed in range(3)]
    assert " trainings of it" not in build(results, tmp_path, "cpu")
    results += [result("dab_detr", seed, seed + 20.0) | {"backbone": "b"} for seed in range(3)]
    results += [result("no_update", seed, seed - 5.0 + 0.1 * seed) | {"backbone": "a"} for seed in range(3)]
    results += [result("conditional_detr", 1, 31.0) | {"backbone": "b"}, result("points", 1)]
    page = build(results, tmp_path, "cpu")
    assert "The runs started from 3 trainings of it (`backbone` in the results)." in page
    assert "| no anchor update | 36.1 ± 1.1 (n=3) | -4.9 ± 0.1 (n=3) | 0.000 |" in page
    assert "| Conditional DETR | 71.0 (n=1) | +10.0 (n=1) | - |" in page
    assert "to reach 30.5 AP (n=1)" in page, "half of the 61 that DAB-DETR has with this backbone and seed"
    assert "| points instead of boxes | 40.0 (n=1) | - | - | less (Table 3) | no common run |" in page
