"""Writes docs/study.md and its plots from the results alone. The same results give the same bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from .attention import PICTURES, QUERIES
from .comparison import COLUMNS, by_row, compared, comparison, in_short, line, rule, trainings
from .figures import Runs, averaged, draw_attention, draw_curves, draw_differences
from .photographs import on_photographs
from .rows import ABLATION, ADDITION, BASE, CONVERGENCE, PRESETS, ROWS, START, WHY, Preset
from .running import kept_backbone
from .statistics import Curve, Pair, final, paired, spread, steps_until

TITLES = {
    ABLATION: "What each part of DAB-DETR adds",
    WHY: "Why is DETR slow?",
    ADDITION: "What later papers add to DAB-DETR",
    START: "Do anchors need prior knowledge of the data?",
}
AGAIN = """## Run it yourself

`make study` runs the rows that have no result yet and writes this page again. If you stop it, it continues later.
`make study ARGS="detr points"` runs two rows. `--jobs 2` runs two trainings at a time, `--again` repeats runs that
have a result, and `--page` only writes the page. `--preset gpu` is larger, and `--preset coco` has the data and the
schedules of the papers. `--preset photographs --data FOLDER` needs `pip install 'dab_detr[study]'`."""


def build(results: Sequence[Mapping], folder: Path, preset: str, photographs: Sequence[Mapping] = ()) -> str:
    """Write the plots into `folder`, beside the page, and return the page.

    results: those of `preset`. photographs: those of the preset "photographs".

    Raises ValueError for results without a run of the row that all others are compared with.
    """
    runs = by_row(results)
    if BASE not in runs:
        raise ValueError(f"the results have no run of {BASE}, which all rows are compared with")
    parts = [opening(results, preset), in_short(runs), convergence(runs)]
    draw_curves({x: runs[x] for x in runs if ROWS[x].question == CONVERGENCE}, folder / "convergence.svg")
    for question, title in TITLES.items():
        rows = [ROWS[name] for name in runs if ROWS[name].question == question and ROWS[name].base in runs]
        if rows:
            parts.append(comparison(title, rows, runs, f"{folder.name}/{question}.svg"))
            draw_differences(rows, runs, folder / f"{question}.svg")
    looks = {name: [x["attention"] for x in results if x["row"] == name and x.get("attention")] for name in ROWS}
    if looks := {name: found for name, found in looks.items() if found}:
        parts.append(attention(looks, f"{folder.name}/attention.svg"))
        draw_attention(looks, folder / "attention.svg")
    if photographs:
        parts.append(on_photographs(photographs))
    parts += [missing(runs, PRESETS[preset]), AGAIN]
    return "\n\n".join(parts) + "\n"


def opening(results: Sequence[Mapping], preset: str) -> str:
    """The head of the page: the runs, the machine and the command."""
    return (
        "# The papers' claims, measured\n\n"
        "<!-- python -m benchmarks.study writes this page; do not edit it. -->\n\n"
        f"`python -m benchmarks.study --preset {preset}` ran {trainings(results)}. The commands, curves and times are "
        f"in `docs/study/results_{preset}.json`. AP is COCO's AP in percent on the validation set of "
        "the generated shapes, as mean ± standard deviation over n seeds. A difference is paired by seed and backbone. "
        "A claim counts as confirmed or contradicted if a paired t-test has p < 0.05, which needs three seeds or more. "
        "The images are small and the schedules short, so a claim that is not confirmed here may hold on COCO."
        f"{starts(preset, results)}"
    )


def starts(preset: str, results: Sequence[Mapping]) -> str:
    """Sentences about the weights that trainings start from."""
    text = " Commands with a `.start.pth` begin with queries that the study writes to that file before."
    if not (config := PRESETS[preset].backbone):
        return text
    if (number := len({x.get("backbone") for x in results})) > 1:
        text = (
            f" The runs started from {number} trainings of it (`backbone` in the results). Differences are between "
            f"runs from the same one.{text}"
        )
    return (
        "\n\nAs the papers start from a backbone trained on ImageNet, every training here starts from the backbone of "
        f"`configs/{config}.py`, trained for its full budget on the same pictures and kept in "
        f"`docs/study/{kept_backbone(PRESETS[preset], Path()).name}`. It comes from a DAB-DETR; whether "
        "that favors DAB-DETR was not measured. It has no stages of stride 16 and 32, so members on several maps start "
        f"with random weights there.{text}"
    )


def convergence(runs: Runs) -> str:
    """The table of final AP and of the steps to 50 and 90 % of DAB-DETR's, with a sentence for each member."""
    lines, sentences = [], []
    for name in (x for x in runs if ROWS[x].question == CONVERGENCE):
        top = spread([final(curve) for curve in paired(runs[name], runs[BASE]).values()]).mean
        steps = [reached(runs[name], top * share) for share in (0.5, 0.9)]
        lines.append(line(ROWS[name].label, *compared(ROWS[name], runs), *steps))
        if name != BASE:
            sentences.append(f"- {ratio_sentence(name, runs, top / 2)}")
    head = ["member", *COLUMNS, "steps to 50 % of DAB-DETR's AP", "steps to 90 %"]
    picture = "![AP over the steps of training](study/convergence.svg)"
    return "\n".join(["## Convergence", "", line(*head), rule(head), *lines, "", *sentences, "", picture])


def reached(curves: Mapping[Pair, Curve], level: float) -> str:
    """The steps until a level as text, or the number of runs that did not reach it."""
    steps = [steps_until(curve, level) for curve in curves.values()]
    found = [x for x in steps if x is not None]
    if not found:
        return f"not within {max(curve[-1][0] for curve in curves.values()):.0f}"
    missed = f", {len(steps) - len(found)} did not" if len(found) < len(steps) else ""
    value = spread(found)
    deviation = "" if value.deviation is None else f" ± {value.deviation:.0f}"
    return f"{value.mean:.0f}{deviation} (n={value.n}{missed})"


def ratio_sentence(name: str, runs: Runs, level: float) -> str:
    """A sentence: the steps that a member needs to reach an AP, as a multiple of DAB-DETR's."""
    base = [steps_until(curve, level) for curve in paired(runs[name], runs[BASE]).values()]
    steps = [steps_until(curve, level) for curve in runs[name].values()]
    label = ROWS[name].label
    if None in base:
        return f"{label} cannot be compared: DAB-DETR did not reach {level:.1f} AP in every run."
    own = spread(base).mean
    if None in steps:
        least = min(curve[-1][0] for curve in runs[name].values()) / own
        return (
            f"{label} did not reach {level:.1f} AP in {steps.count(None)} of {len(steps)} runs: there it needs over "
            f"{least:.1f} times DAB-DETR's steps."
        )
    ratios = spread([x / own for x in steps])
    deviation = "" if ratios.deviation is None else f" ± {ratios.deviation:.2f}"
    return f"{label} needs {ratios.mean:.2f}{deviation} times DAB-DETR's steps to reach {level:.1f} AP (n={ratios.n})."


def attention(looks: Mapping[str, Sequence[Curve]], picture: str) -> str:
    """The table of entropy and centers of attention at the first and the last checkpoint."""
    lines = []
    for name, found in looks.items():
        steps, *values = averaged(found)
        cells = [f"{steps[0]} to {steps[-1]}", *(f"{x[0]:.2f} to {x[-1]:.2f}" for x in values)]
        lines.append(line(ROWS[name].label, *cells, f"{len(found)}"))
    head = ["row", "steps", "entropy", "centers", "n"]
    return "\n".join(
        [
            "## Where queries look during training",
            "",
            f"The attention of the last layer by position alone, of the {QUERIES} queries with the highest scores in "
            f"each of {PICTURES} validation pictures. Entropy is a share of that of even attention: 1 means everywhere "
            "and 0 one cell. A center is a local maximum of the mean over the heads that reaches half of the largest.",
            "",
            line(*head),
            rule(head),
            *lines,
            "",
            f"![Entropy and centers of attention over the steps]({picture})",
        ]
    )


def missing(runs: Runs, preset: Preset) -> str:
    """The rows that were not run, that lack seeds, and that lack the row that they are compared with."""
    usable = [row for row in ROWS.values() if getattr(row, preset.configs)]
    names = [f"`{row.name}`" for row in usable if row.name not in runs]
    text = f"Not run: {', '.join(names)}." if names else "All rows were run."
    seeds = {row.name: (len({seed for _, seed in runs.get(row.name, ())}), preset.seeds_of(row)) for row in usable}
    if few := [f"`{name}` ({done} of {planned})" for name, (done, planned) in seeds.items() if 0 < done < planned]:
        text += f" Seeds are missing: {', '.join(few)}."
    alone = [f"`{name}` (without `{ROWS[name].base}`)" for name in runs if ROWS[name].base not in runs]
    if alone:
        text += f" Run, but not compared: {', '.join(alone)}."
    return f"## What was not run\n\n{text}"
