"""Writes docs/study.md and its plots from the results alone. The same results give the same bytes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from .attention import PICTURES, QUERIES
from .comparison import by_row, comparison, found_for, in_short, line, rule, trainings
from .convergence import convergence, members
from .figures import Runs, averaged, draw_attention, draw_curves, draw_differences
from .photographs import on_photographs
from .presets import PRESETS, Preset
from .row import ABLATION, ADDITION, BASE, START, WHY
from .rows import ROWS
from .running import kept_backbone
from .starts import fingerprint
from .statistics import Curve, Spread

TITLES = {
    ABLATION: "What each part of DAB-DETR adds",
    WHY: "Why is DETR slow?",
    ADDITION: "What later papers add to DAB-DETR",
    START: "Do anchors need prior knowledge of the data?",
}
TEXTS = {
    ABLATION: "Models of the paper's Table 6 have no modulation, and the rows of temperatures here have it. DAB-DETR "
    "itself has 20 for the map and 10000 for the anchors, as in the original code.",
    START: "DAB-DETR's own anchors start with centers that are drawn uniformly and sizes that are drawn at random.",
}
SHAPES = (
    "AP is COCO's AP in percent on the validation set of the generated shapes: 500 pictures of 96 x 96 pixels. The "
    "training set has 12,000. A model has one encoder layer, three decoder layers, 128 channels and 20 queries. The "
    "learning rate is 6e-4, which was chosen for DAB-DETR, unless a row names another. The images are small and the "
    "schedules short, so a claim that is not confirmed here may hold on COCO."
)
COCO = (
    "AP is COCO's AP in percent on val2017. Every row has the schedule of its config, so rows of 12 or 36 epochs are "
    "compared with DAB-DETR's 50."
)
AGAIN = """## Run it yourself

`make study` runs the rows that have no result yet and writes this page again. If you stop it, it continues later.
`make study ARGS="detr points"` runs two rows. `--jobs 2` runs two trainings at a time, `--again` repeats runs that
have a result, `--seeds 5` runs more seeds, and `--page` only writes the page. `--preset gpu` is larger, and `--preset
coco` has the data and the schedules of the papers; their pages are `study_gpu.md` and `study_coco.md`. With several
GPUs, each of the `--jobs` has its own. For torchrun or Slurm, `--commands` prints the commands of the runs that are
left; their parts fit into `sbatch tools/train.sbatch CONFIG OUTPUT OVERRIDES` too. Afterwards, the same line without
`--commands` collects the results. `--preset photographs --data FOLDER` needs `pip install 'dab_detr[study]'`."""


def build(results: Sequence[Mapping], folder: Path, preset: str, photographs: Sequence[Mapping] = ()) -> str:
    """Write the plots into `folder`, beside the page, and return the page.

    results: those of `preset`. photographs: those of the preset "photographs".

    Raises ValueError for results without a run of the row that all others are compared with.
    """
    runs = by_row(results)
    if BASE not in runs:
        raise ValueError(f"the results have no run of {BASE}, which all rows are compared with")
    curves = {name: runs[name] for name in members(runs)}
    parts = [opening(results, preset, folder), in_short(runs), convergence(runs, f"{folder.name}/convergence.svg")]
    draw_curves(curves, folder / "convergence.svg")
    for question, title in TITLES.items():
        rows = [ROWS[name] for name in runs if ROWS[name].question == question and ROWS[name].base in runs]
        if rows:
            text = " ".join(filter(None, [TEXTS.get(question, ""), additivity(runs) if question == ADDITION else ""]))
            parts.append(comparison(title, rows, runs, f"{folder.name}/{question}.svg", text))
            draw_differences(rows, runs, folder / f"{question}.svg")
    looks = {name: [x["attention"] for x in results if x["row"] == name and x.get("attention")] for name in ROWS}
    if looks := {name: found for name, found in looks.items() if found}:
        parts.append(attention(looks, f"{folder.name}/attention.svg"))
        draw_attention(looks, folder / "attention.svg")
    if photographs:
        parts.append(on_photographs(photographs))
    parts += [missing(runs, PRESETS[preset]), AGAIN]
    return "\n\n".join(parts) + "\n"


def opening(results: Sequence[Mapping], preset: str, folder: Path) -> str:
    """The head of the page: the runs, the machine, the command and how to read the numbers."""
    size = PRESETS[preset]
    passes = size.steps and f" A row has {size.steps} steps of 16 pictures: {size.steps * 16 / 12000:.2g} passes."
    return (
        "# The papers' claims, measured\n\n"
        "<!-- python -m benchmarks.study writes this page; do not edit it. -->\n\n"
        f"`python -m benchmarks.study --preset {preset}` ran {trainings(results)}. The commands, curves and times are "
        f"in `docs/study/results_{preset}.json`. {SHAPES if size.configs == 'small' else COCO}{passes or ''}\n\n"
        "Numbers are mean ± standard deviation over n seeds. A difference is paired by seed and backbone: both runs "
        "have the same order of the data, and the same initial weights if their models have the same parts. "
        "A claim counts as confirmed or contradicted if a paired t-test has p < 0.05, which needs three seeds or "
        "more. With three seeds a test finds only large differences, as the 95 % intervals show."
        f"{starts(preset, results, folder)}"
    )


def starts(preset: str, results: Sequence[Mapping], folder: Path) -> str:
    """Sentences about the weights that trainings start from."""
    text = " Commands with a `.start.pth` begin with queries that the study writes to that file before."
    if not (config := PRESETS[preset].backbone):
        return text
    kept = kept_backbone(PRESETS[preset], folder)
    mark = fingerprint(kept) if kept.is_file() else None
    if others := sum(x.get("backbone") != mark for x in results):
        text = (
            f" {others} of the {len(results)} runs started from another training of it, which was not kept. "
            f"Differences are between runs from the same one.{text}"
        )
    return (
        "\n\nAs the papers start from a backbone trained on ImageNet, trainings here start from the backbone of "
        f"`configs/{config}.py`, trained for its full budget on the same pictures and kept in "
        f"`docs/study/{kept.name}`. It comes from a DAB-DETR; whether that favors DAB-DETR was not measured. It has "
        f"no stages of stride 16 and 32, so members on several maps start with random weights there.{text}"
    )


def additivity(runs: Runs) -> str:
    """A sentence: what denoising and deformable attention add alone and together; "" if one of them was not run."""
    names = ("dn_dab_detr", "dab_deformable_detr", "dn_dab_deformable_detr")
    found = [found_for(ROWS[name], runs) for name in names if name in runs]
    if len(found) < len(names) or None in found:
        return ""
    alone, other, both = (x.spread for x in found)
    return (
        f"Denoising alone adds {alone:+} AP, deformable attention alone {other:+}, and both together {both:+}, where "
        f"the sum of the two would be {alone.mean + other.mean:+.1f}."
    )


def attention(looks: Mapping[str, Sequence[Curve]], picture: str) -> str:
    """The table of entropy and centers of attention at the first and the last checkpoint."""
    lines = []
    for name, found in looks.items():
        steps, *values = averaged(found)
        cells = [f"{steps[0]} to {steps[-1]}", *(f"{around(x[0])} to {around(x[-1])}" for x in values)]
        lines.append(line(ROWS[name].full_name, *cells, f"{len(found)}"))
    head = ["row", "steps", "entropy", "centers", "n"]
    return "\n".join(
        [
            "## Where queries look during training",
            "",
            f"The attention of the last layer by position alone, of the {QUERIES} queries with the highest scores in "
            f"each of {PICTURES} validation pictures. Entropy is a share of that of even attention: 1 means everywhere "
            "and 0 one cell. A center is a local maximum of the mean over the heads that reaches half of the largest. "
            "Nearly even attention has many of them, which mean little. The table has the first and the last step.",
            "",
            line(*head),
            rule(head),
            *lines,
            "",
            f"![Entropy and centers of attention over the steps]({picture})",
        ]
    )


def around(value: Spread) -> str:
    """A mean with its deviation, if it has one, in two digits."""
    return f"{value.mean:.2f}" + ("" if value.deviation is None else f" ± {value.deviation:.2f}")


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
