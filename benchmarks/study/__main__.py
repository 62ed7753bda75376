"""python -m benchmarks.study [ROW ...] [--preset cpu] [--jobs 1] [--output output/study]

Runs the rows that have no result yet, collects all results and writes docs/study.md. A study that was stopped
continues. Runs whose results are in docs/study/results_cpu.json are not repeated, unless their command has changed or
they started from another backbone than the one that is kept there; --again repeats all of them. --page only collects
and writes. --preset photographs --data FOLDER compares members on a dataset of yours. --commands prints the commands
of the runs that are left, for torchrun or Slurm; the study then collects what they have trained.
"""

import argparse
import shlex
import signal
import sys
from dataclasses import replace
from pathlib import Path

from dab_detr import command
from dab_detr.engine.device import usable_cores

from .page import build
from .presets import PRESETS, Preset
from .results import ROOT, collect, stored
from .row import BASE
from .rows import ROWS
from .running import kept_backbone, perform_all, prepare, provide_backbone
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
    parser.add_argument("--seeds", type=int, help="seeds of every row, instead of the preset's number")
    parser.add_argument("--output", type=Path, default=Path("output/study"), help="folder of the trainings")
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="folder of the page")
    parser.add_argument("--again", action="store_true", help="repeat the runs that have a result")
    parser.add_argument("--commands", action="store_true", help="only print the commands of the runs that are left")
    parser.add_argument("--page", action="store_true", help="only collect the results and write the page")
    args = parser.parse_args(argv)
    if unknown := [name for name in args.rows if name not in ROWS]:
        parser.error(f"unknown rows {unknown}; there are {', '.join(ROWS)}")
    if args.jobs < 1 or (args.seeds is not None and args.seeds < 1):
        parser.error("--jobs and --seeds must be 1 or more")
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
    output, target = args.output.expanduser().absolute() / args.preset, results_file(args, args.preset)
    failed = 0 if args.page else run_all(args, output, target)
    if args.commands:
        return failed
    results = {args.preset: collect(output, target)}
    shapes = "cpu" if args.preset == PHOTOGRAPHS else args.preset
    for name in {shapes, PHOTOGRAPHS} - {args.preset}:
        results[name] = stored(results_file(args, name))
    if not any(x["row"] == BASE for x in results[shapes]):
        print(f"no page yet: it needs the row {BASE}, which all others are compared with")
        return failed
    name = "study" if shapes == "cpu" else f"study_{shapes}"
    page = args.docs / f"{name}.md"
    page.write_text(build(results[shapes], args.docs / name, shapes, results[PHOTOGRAPHS] if shapes == "cpu" else ()))
    print(f"{page} has {sum(map(len, results.values()))} runs")
    return failed


def results_file(args: argparse.Namespace, preset: str) -> Path:
    """The file that keeps the results of a preset."""
    return args.docs / "study" / f"results_{preset}.json"


def run_all(args: argparse.Namespace, output: Path, target: Path) -> int:
    """Perform the runs that are left, or print their commands. Return 1 if a training failed."""
    preset, failed, known = chosen(args), 0, [] if args.again else stored(target)
    runs = planned([ROWS[name] for name in args.rows or ROWS], preset, output, args.seeds)
    kept = kept_backbone(preset, target.parent)
    backbone = fingerprint(kept) if kept and kept.is_file() else None
    left = [run for run in runs if not run.is_known(known, backbone)]
    told = sys.stderr if args.commands else sys.stdout
    print(f"{len(runs) - len(left)} of {len(runs)} runs are in {target}", flush=True, file=told)
    if left:
        provide_backbone(preset, output, target.parent, threads=usable_cores())
    if args.commands:
        for run in (run for run in left if not run.row.queries_of):
            prepare(run)
            print(shlex.join(["python", "train_net.py", *run.arguments()]))
        return 0
    for line in perform_all(left, jobs=args.jobs, again=args.again):
        failed |= ": failed" in line
        print(line, flush=True)
        collect(output, target)
    return int(failed)


def stop(*_) -> None:
    """End the study as Ctrl-C does."""
    raise KeyboardInterrupt


def main(argv: list[str] | None = None) -> int:
    """Run the study. Return the exit status."""
    return command.run(work, parse(argv))


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, stop)
    sys.exit(main())
