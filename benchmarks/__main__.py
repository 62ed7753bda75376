"""python -m benchmarks TASK [--peer] [--precision bf16] [--size 800 1066] [--batch 1] [key=value ...]

Times the forms of a task in turn and prints a table. --json also writes the results to a file.
"""

import argparse
import copy
import json
import os
import platform
import sys
import time
from pathlib import Path

import torch

from dab_detr import command

from .accuracy import accuracy
from .curves import measure_curves
from .gpu import profile
from .measure import alternate, gmac, matrix_peak, peak_memory, summary
from .prediction import prediction
from .report import report, table
from .subjects import DTYPES, build, inputs_for
from .tasks import TASKS

CONFIG = Path(__file__).parents[1] / "configs" / "dab_detr_r50_50ep.py"
OTHERS = {"curves": measure_curves, "accuracy": accuracy, "prediction": prediction, "profile": profile}
SIZES = dict.fromkeys(("training", "collaboration"), (640, 640))
BATCHES = {"training": 2, "collaboration": 2, "criterion": 16}


def parse(argv: list[str] | None = None) -> argparse.Namespace:
    """Parse the arguments of all tasks; each task reads its own."""
    result = command.config_parser(__doc__)
    result.prog = "python -m benchmarks"
    result.set_defaults(config_file=str(CONFIG))
    result.add_argument("task", choices=[*TASKS, *OTHERS, "report"])
    result.add_argument("--size", type=int, nargs=2, metavar=("HEIGHT", "WIDTH"))
    result.add_argument("--batch", type=int)
    result.add_argument("--precision", choices=list(DTYPES), default="fp32")
    result.add_argument("--device", default="cpu")
    result.add_argument("--compile", action="store_true", help="use torch.compile, for ours and theirs")
    result.add_argument("--peer", action="store_true", help="also time transformers' model, with our weights")
    result.add_argument("--memory", action="store_true", help="also measure peak memory")
    result.add_argument("--runs", type=int, default=15)
    result.add_argument("--pictures", type=int, default=2000, help="number of pictures, for prediction")
    result.add_argument(
        "--cpu-time", action="store_true", help="measure the CPU time of one thread, for a machine with other load"
    )
    result.add_argument("--weights", help="checkpoint, for accuracy")
    result.add_argument("--json", type=Path, help="also write the results to this file")
    return command.parse(result, argv)


def measure(args: argparse.Namespace) -> dict:
    """Time all forms of args.task; for inference, also count parameters and arithmetic."""
    model = build(args)
    forms = TASKS[args.task](model, args)
    clock = time.process_time if args.cpu_time else time.perf_counter
    times = alternate(forms, runs=args.runs, device=args.device, clock=clock)
    found = {name: summary(values, args.batch) for name, values in times.items()}
    first = next(iter(found.values()))["median_ms"]
    for name, form in found.items():
        form["ratio"] = first / form["median_ms"]
        if args.memory:
            form["peak_mb"] = peak_memory(forms[name], args.device) / 2**20
    result = {"forms": found}
    if args.task == "inference":
        inputs = inputs_for(model, args)
        frozen = copy.deepcopy(model).eval().requires_grad_(False)  # the counter cannot follow parameters as inputs
        result["gmac"] = gmac(lambda: frozen(inputs))
        result["parameters"] = sum(p.numel() for p in model.parameters())
        result["peak_gflops"] = matrix_peak(DTYPES[args.precision], args.device)
        for form in found.values():
            form["gflops"] = 2 * result["gmac"] / form["median_ms"] * 1e3
    return result


def settings(args: argparse.Namespace) -> dict:
    """The machine and the versions behind the numbers."""
    names = ("size", "batch", "precision", "device", "compile", "cpu_time", "runs", "opts")
    threads = torch.get_num_threads()
    gpu = torch.cuda.get_device_name() if args.device.startswith("cuda") else None
    allocator = {name: value for name, value in os.environ.items() if name.startswith(("MALLOC_", "LD_PRELOAD"))}
    return {name: getattr(args, name) for name in names} | {
        "config": Path(args.config_file).name,
        "machine": gpu or f"{platform.machine()}, {threads} thread{'s' if threads > 1 else ''}",
        "torch": torch.__version__,
        "allocator": allocator,
    }


def work(args: argparse.Namespace) -> None:
    args.size = tuple(args.size or SIZES.get(args.task, (800, 1066)))
    args.batch = args.batch or BATCHES.get(args.task, 1)
    if args.cpu_time:
        torch.set_num_threads(1)
    if args.device.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError("--device cuda: torch finds no GPU here")
    if args.task == "report":
        report(args)
        return
    result = {"settings": settings(args)} | OTHERS.get(args.task, measure)(args)
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))
    print(table(result))


def main(argv: list[str] | None = None) -> int:
    """Measure. Returns the exit status."""
    return command.run(work, parse(argv))


if __name__ == "__main__":
    sys.exit(main())
