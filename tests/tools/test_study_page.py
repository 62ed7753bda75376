"""The study's page: its statistics are right, and it follows from the results alone."""

import numpy as np
import pytest

from benchmarks.study import page
from benchmarks.study.attention import centers, entropy, first_of_queries
from benchmarks.study.figures import averaged
from benchmarks.study.page import build
from benchmarks.study.statistics import Spread, difference, significant_together, spread, steps_until, verdict
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
    assert steps == [100, 200] and [x.mean for x in numbers] == [3, 2]
    assert [x.mean for x in shares] == pytest.approx([0.8, 0.6]) and shares[0].deviation == pytest.approx(0.2 / 2**0.5)


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
    half = 4.3026527 * found.spread.deviation / 3**0.5  # the quantile of Student's t with two degrees of freedom
    assert found.interval == pytest.approx((5.1 - half, 5.1 + half))
    assert difference({0: [[1, 12.0]]}, base).spread == Spread(2.0, None, 1)
    assert difference({7: [[1, 12.0]]}, base) is None
    assert verdict(1, found) == "confirmed" and verdict(-1, found) == "contradicted"
    assert verdict(0, found) == "no claim"
    assert "too few seeds" in verdict(1, difference({0: [[1, 12.0]]}, base))
    noise = {seed: [[1, value + (-1) ** seed * 4.0]] for seed, value in enumerate((10, 20, 30))}
    assert verdict(1, difference(noise, base)) == "not confirmed at this size"


def test_several_tests_are_corrected_for_their_number():
    """Holm: the smallest of four p-values counts four times, the next three times, until one is too large."""
    ps = {"a": 0.03, "b": 0.001, "c": 0.012, "d": 0.026}
    assert significant_together(ps) == ["b", "c"]
    assert significant_together({"a": 0.013, "b": 0.2, "c": 0.01, "d": 0.01, "e": 0.9}) == []


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
    assert "| DETR | 100 to 300 | 0.90 ± 0.00 to 0.80 ± 0.00 | 5.50 ± 0.71 to 3.00 ± 0.00 | 2 |" in pages[0]
    assert "| positions are sine encodings of anchors | 32.0 (n=1) | DETR | +30.0 (n=1) | - | - | more" in pages[0]
    assert "The largest gain is +30.0 (n=1), of the row *positions are sine encodings of anchors*.\n" in pages[0]
    assert (
        "| no width and height modulation | 35.9 ± 0.9 (n=3) | DAB-DETR | -5.1 ± 0.1 (n=3) | -5.3 to -4.9 | < 0.001 "
        "| less (Table 3 of DAB-DETR) | confirmed |"
    ) in pages[0]
    assert "| no anchor update | 36.0 ± 1.0 (n=3) | DAB-DETR | -5.0 ± 0.0 (n=3) | - | - |" in pages[0]
    assert "Conditional DETR did not reach 20.0 AP in 1 of 1 runs, which had 2.0 times DAB-DETR's steps" in pages[0]
    assert "`dino`" in pages[0].partition("Not run: ")[2] and "not compared" not in pages[0]
    assert "Seeds are missing: `conditional_detr` (1 of 3).\n" in pages[0], "other rows have all or are not core rows"
    lonely = build([result("dab_detr", 0), result("detr_sine", 0)], tmp_path / "c" / "study", "cpu")
    assert "Run, but not compared: `detr_sine` (without `detr`)." in lonely


def test_the_page_sums_up_the_claims(tmp_path):
    results = [result("dab_detr", seed, seed) for seed in range(3)] + [result("dn_dab_detr", 0, 2.0)]
    results += [result("no_update", seed, seed - 5.0 - seed * 0.1) for seed in range(3)]
    results += [result("no_modulation", seed, seed + 5.0 + seed * 0.1) for seed in range(3)]
    results += [result("layers_6", seed, 3.0 - 2 * seed) for seed in range(3)] + [result("layers_2", 0, 3.0)]
    results += [result("heads_of_layers", 0)]
    short = build(results, tmp_path, "cpu").partition("## The claims in short")[2].partition("##")[0]
    assert short.strip().splitlines() == [
        "- Confirmed:",
        "    - DAB-DETR (no anchor update) against DAB-DETR: the papers say less AP, here -5.1 ± 0.1 (n=3).",
        "- Contradicted at this size:",
        "    - DAB-DETR (no width and height modulation) against DAB-DETR: the papers say less AP, "
        "here +5.1 ± 0.1 (n=3).",
        "- Neither confirmed nor contradicted at this size:",
        "    - DAB-DETR (6 decoder layers) against DAB-DETR: the papers say more AP, here +0.0 ± 3.0 (n=3).",
        "- The same sign as in the papers, but too few seeds to judge:",
        "    - DN-DAB-DETR against DAB-DETR: the papers say more AP, here +2.0 (n=1).",
        "- Another sign than in the papers, but too few seeds to judge:",
        "    - DAB-DETR (2 decoder layers) against DAB-DETR: the papers say less AP, here +3.0 (n=1). "
        "A guess: a smaller model learns sooner.",
        "",
        "These are 3 tests, each with p < 0.05 as its limit. With Holm's correction for their number, these stay below "
        "it: DAB-DETR (no anchor update), DAB-DETR (no width and height modulation).",
    ]
    nothing = build([result("dab_detr", 0), result("heads_of_layers", 0)], tmp_path, "cpu")
    assert "- Confirmed: none." in nothing


def test_members_of_the_convergence_are_compared_too(tmp_path):
    results = [result(row, seed, shift * seed) for row, shift in (("dab_detr", 1), ("detr", -9)) for seed in range(3)]
    section = build(results, tmp_path, "cpu").partition("## Convergence")[2].partition("##")[0]
    assert "| DAB-DETR | 41.0 ± 1.0 (n=3) | - | - | - | - | - | - | 1" in section
    assert "| DETR | 31.0 ± 9.0 (n=3) | DAB-DETR | -10.0 ± 10.0 (n=3) | -34.8 to +14.8 | 0.225 | less (Fig" in section


def test_ratios_of_steps_are_those_of_pairs(tmp_path):
    """DAB-DETR reaches half of its AP after 150 steps with one seed and 300 with the other, DETR after twice that."""
    long = [[200, 10.0], [400, 30.0], [600, 40.0]]
    late = [[200, 10.0], [400, 30.0], [600, 40.0]]
    results = [result("dab_detr", 0), result("dab_detr", 1) | {"curve": late}]
    results += [result("detr", 0) | {"curve": long}, result("detr", 1) | {"curve": [[2 * x, y] for x, y in late]}]
    section = build(results, tmp_path, "cpu").partition("## Convergence")[2].partition("##")[0]
    assert "- DETR needs 2.00 ± 0.00 times DAB-DETR's steps to reach 20.0 AP (n=2)." in section
    assert "- DETR needs 2.00 ± 0.00 times DAB-DETR's steps to reach 36.0 AP (n=2)." in section


def test_the_learning_rates_of_detr_are_in_one_sentence(tmp_path):
    results = [result("dab_detr", 0), result("detr", 0, -9.0), result("detr_lr_1e-3", 0, 2.0)]
    text = build(results, tmp_path, "cpu")
    assert "learning rate 1e-3: AP 42.0 (n=1); learning rate 6e-4, that of all other rows: AP 31.0 (n=1). The" in text
    assert "The best is learning rate 1e-3." in text


def test_the_page_says_what_denoising_and_deformable_attention_add_together(tmp_path):
    names = {"dab_detr": 0.0, "dn_dab_detr": 2.0, "dab_deformable_detr": 7.0, "dn_dab_deformable_detr": 8.0}
    results = [result(name, 0, shift) for name, shift in names.items()]
    text = "attention alone +7.0 (n=1), and both together +8.0 (n=1), where the sum of the two would be +9.0."
    assert text in build(results, tmp_path, "cpu") and text not in build(results[:3], tmp_path, "cpu")


def test_a_result_of_a_row_that_no_longer_exists_is_left_out(tmp_path):
    text = build([result("dab_detr", 0), result("a_row_of_before", 0)], tmp_path, "cpu")
    assert "a_row_of_before" not in text


def test_the_page_of_coco_does_not_speak_of_shapes(tmp_path):
    text = build([result("dab_detr", 0)], tmp_path, "coco")
    assert "on val2017" in text and "generated shapes" not in text


def test_a_page_needs_the_row_that_others_are_compared_with(tmp_path):
    with pytest.raises(ValueError, match="no run of dab_detr"):
        build([result("points", 0)], tmp_path, "cpu")


def test_the_page_has_a_section_on_photographs(tmp_path):
    photographs = [photographed("dab_detr", seed, 30.0 + seed, 90.0) for seed in range(3)]
    photographs += [photographed("dn_dab_detr", seed, 35.0 + seed * 1.1, 95.0 + seed) for seed in range(3)]
    text = build([result("dab_detr", 0)], tmp_path / "study", "cpu", photographs)
    section = text.partition("## Photographs")[2].partition("##")[0]
    assert "ran 6 trainings" in section and "results_photographs.json" in section
    assert "| DAB-DETR | 31.0 ± 1.0 (n=3) | - | - | - | - | - | - | 90.0 ± 0.0 (n=3) | 10.0 ± 0.0 (n=3) |" in section
    assert "| DN-DAB-DETR | 36.1 ± 1.1 (n=3) | DAB-DETR | +5.1 ± 0.1 (n=3) | +4.9 to +5.3 | < 0.001 | more (" in section
    assert ") | confirmed | 96.0 ± 1.0 (n=3)" in section
    assert "- cell: the highest AP50 is 96.0 ± 1.0 (n=3), of DN-DAB-DETR." in section
    assert "## Photographs" not in build([result("dab_detr", 0)], tmp_path / "study", "cpu")


def test_the_page_says_what_trainings_start_from(tmp_path):
    texts = {name: build([result("dab_detr", 0)], tmp_path / name, name) for name in ("cpu", "gpu")}
    assert "backbone of `configs/shapes/dab_detr.py`" in texts["cpu"] and "backbone of" not in texts["gpu"]
    assert "kept in `docs/study/backbone_dab_detr.pth`" in texts["cpu"]


def test_runs_are_compared_with_those_of_the_same_backbone(tmp_path, monkeypatch):
    """The backbone "b" is better by 20 for all rows; `conditional_detr` was run with it alone."""
    results = [result("dab_detr", seed, seed) | {"backbone": "a"} for seed in range(3)]
    monkeypatch.setattr(page, "fingerprint", lambda path: "a")
    (tmp_path / "backbone_dab_detr.pth").touch()
    assert "another training of it" not in build(results, tmp_path, "cpu")
    results += [result("dab_detr", seed, seed + 20.0) | {"backbone": "b"} for seed in range(3)]
    results += [result("no_update", seed, seed - 5.0 + 0.1 * seed) | {"backbone": "a"} for seed in range(3)]
    results += [result("conditional_detr", 1, 31.0) | {"backbone": "b"}, result("no_modulation", 1)]
    text = build(results, tmp_path, "cpu")
    assert "5 of the 11 runs started from another training of it, which was not kept." in text
    assert "| no anchor update | 36.1 ± 1.1 (n=3) | DAB-DETR | -4.9 ± 0.1 (n=3) | -5.1 to -4.7 | < 0.001 |" in text
    assert "| Conditional DETR | 71.0 (n=1) | DAB-DETR | +10.0 (n=1) | - | - |" in text
    assert "to reach 30.5 AP (n=1)" in text, "half of the 61 that DAB-DETR has with this backbone and seed"
    assert "| no width and height modulation | 40.0 (n=1) | DAB-DETR | - | - | - | less (Table 3" in text
