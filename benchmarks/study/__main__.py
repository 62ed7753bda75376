"""python -m benchmarks.study [ROW ...] [--preset cpu] [--jobs 1] [--output output/study]

Runs the rows that have no result yet, collects all results and writes docs/study.md. A study that was stopped
continues. Runs whose results are in docs/study/results_cpu.json are not repeated, unless they started from another
backbone than the one that is kept there; --again repeats all of them. --page only collects and writes. --preset
photographs --data FOLDER compares members on a dataset of yours.
"""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

from dab_detr import command
from dab_detr.engine.device import usable_cores

from .page import build
from .rows import PRESETS, ROWS, Preset
from .running import ROOT, collect, kept_backbone, perform_all, provide_backbone, stored
from .runs import DATA, planned
from .starts import fingerprint

PHOTOGRAPHS = "photographs"


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.study", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"all by default: {', '.join(ROWS)}")
    parser.add_argument("--preset", choices=list(PRESETS), default="cpu")
    parser.add_argument("--data", type=Path, help="folder of the photographs, for --preset photographs")
    parser.add_argument("--jobs", type=int, default=1, help="trainings at a time")
    parser.add_argument("--output", type=Path, default=Path("output/study"), help="folder of the trainings")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the page")
    parser.add_argument("--again", action="store_true", help="repeat the runs that only the page's results have")
    parser.add_argument("--page", action="store_true", help="only collect the results and write the page")
    args = parser.parse_args(argv)
    if unknown := [name for name in args.rows if name not in ROWS]:
        parser.error(f"unknown rows {unknown}; there are {', '.join(ROWS)}")
    if (args.preset == PHOTOGRAPHS) != bool(args.data) and not args.page:
        parser.error("--preset photographs needs --data FOLDER, and no other preset takes it")
    return args


def chosen(args: argparse.Namespace) -> Preset:
    """The preset, with the dataset of photographs if there is one."""
    preset = PRESETS[args.preset]
    if not args.data:
        return preset
    return replace(preset, overrides=(*preset.overrides, f"{DATA}={args.data.expanduser().absolute()}"))


def work(args: argparse.Namespace) -> int:
    """Run, collect and write the page. Return 1 if a training failed."""
    output, folder = args.output.expanduser().absolute() / args.preset, args.docs / "study"
    rows, target = [ROWS[name] for name in args.rows or ROWS], folder / f"results_{args.preset}.json"
    preset, failed = chosen(args), False
    if not args.page:
        known, runs = [] if args.again else stored(target), planned(rows, preset, output)
        kept = kept_backbone(preset, folder)
        backbone = fingerprint(kept) if kept and kept.is_file() else None
        left = [run for run in runs if not run.is_known(known, backbone)]
        print(f"{len(runs) - len(left)} of {len(runs)} runs are in {target}", flush=True)
        if left:
            provide_backbone(preset, output, folder, threads=usable_cores())
        for line in perform_all(left, jobs=args.jobs):
            failed |= ": failed" in line
            print(line, flush=True)
            collect(output, target)
    results = {args.preset: collect(output, target)}
    shapes = "cpu" if args.preset == PHOTOGRAPHS else args.preset
    for name in {shapes, PHOTOGRAPHS} - {args.preset}:
        results[name] = stored(folder / f"results_{name}.json")
    page = args.docs / "study.md"
    page.write_text(build(results[shapes], folder, shapes, results[PHOTOGRAPHS]))
    print(f"{page} has {sum(map(len, results.values()))} runs")
    return int(failed)


def main(argv: list[str] | None = None) -> int:
    """Run the study. Return the exit status."""
    return command.run(work, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
