"""Updates docs/benchmarks.md: runs its commands, stores their results as JSON, and writes the tables into the page."""

import argparse
import json
import os
import shlex
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE, RESULTS = ROOT / "docs" / "benchmarks.md", ROOT / "docs" / "benchmarks"

# glibc returns large blocks to the system after each use, and getting a new page costs more than computing on it
TUNED = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "17179869184", "MALLOC_TOP_PAD_": "67108864"}

DAB_DEFORMABLE = "--config-file configs/dab_deformable_detr_r50_50ep.py"
DEFORMABLE = "--config-file configs/deformable_detr_r50_50ep.py"

# name of a table: (whether with the tuned allocator, arguments)
RUNS = {
    "inference_fp32_tuned": (True, "inference --peer --memory"),
    "inference_fp32_default": (False, "inference --peer"),
    "inference_bf16_tuned": (True, "inference --peer --precision bf16"),
    "inference_bf16_default": (False, "inference --peer --precision bf16"),
    "transformer_fp32": (True, "transformer --peer"),
    "transformer_bf16": (True, "transformer --peer --precision bf16"),
    "training_fp32": (True, "training --peer --memory --runs 8"),
    "training_bf16": (True, "training --peer --memory --runs 8 --precision bf16"),
    "collaboration": (True, "collaboration --memory --runs 6"),
    "sampling": (True, f"sampling --cpu-time --runs 5 --size 640 640 {DAB_DEFORMABLE}"),
    "dab_deformable_inference_fp32": (True, f"inference --memory {DAB_DEFORMABLE}"),
    "dab_deformable_inference_bf16": (True, f"inference --memory --precision bf16 {DAB_DEFORMABLE}"),
    "dab_deformable_training_fp32": (True, f"training --memory --runs 8 {DAB_DEFORMABLE}"),
    "deformable_inference_fp32": (True, f"inference --peer --memory --runs 7 {DEFORMABLE}"),
    "deformable_inference_bf16": (True, f"inference --peer --memory --precision bf16 {DEFORMABLE}"),
    "deformable_training_fp32": (True, f"training --peer --memory --runs 8 {DEFORMABLE}"),
    "explanation": (True, "explanation --memory"),
    "prediction": (True, "prediction --pictures 600 --config-file configs/demo_shapes.py"),
    "deployment_batch1": (True, "deployment"),
    "deployment_batch8": (True, "deployment --runs 3 --batch 8 --size 480 640"),
    "deployment_deformable_batch1": (True, f"deployment --runs 5 {DAB_DEFORMABLE}"),
    "deployment_deformable_batch8": (True, f"deployment --runs 3 --batch 8 --size 320 480 {DAB_DEFORMABLE}"),
    "criterion": (True, "criterion --peer"),
    "curves": (True, "curves --runs 5"),
    "accuracy": (True, "accuracy --config-file configs/demo_shapes.py --weights output/demo_shapes/model_final.pth"),
}
ON_GPU = {
    f"gpu_{task}_{precision}_batch{batch}": (
        False,
        f"{task} --peer --device cuda --precision {precision} --batch {batch} --memory",
    )
    for task, batch in (("inference", 1), ("inference", 8), ("training", 16))
    for precision in ("fp32", "bf16")
}
ON_GPU |= {f"{name}_compiled": (tuned, f"{arguments} --compile") for name, (tuned, arguments) in ON_GPU.items()}
ON_GPU["gpu_profile"] = (False, "profile --device cuda --precision bf16")

COLUMNS = {
    "median_ms": ("median ms", "{:.1f}"),
    "p5_ms": ("5 %", "{:.1f}"),
    "p95_ms": ("95 %", "{:.1f}"),
    "images_per_s": ("images/s", "{:.2f}"),
    "ratio": ("times as fast", "{:.2f}"),
    "gflops": ("GFLOP/s", "{:.0f}"),
    "of_peak": ("of best peak", "{:.0%}"),
    "peak_mb": ("peak MB", "{:.0f}"),
}


def report(args: argparse.Namespace) -> None:
    """Run everything that can run here, or the tables that args.opts names, and write the page."""
    runs = RUNS | (ON_GPU if args.device.startswith("cuda") else {})
    unknown = set(args.opts) - set(runs)
    if unknown:
        sys.exit(f"error: no such table: {', '.join(sorted(unknown))}; there are {', '.join(runs)}")
    RESULTS.mkdir(parents=True, exist_ok=True)
    for name in args.opts or runs:
        tuned, arguments = runs[name]
        print(f"{name}: {command(tuned, arguments)}", flush=True)
        run = [sys.executable, "-W", "ignore", "-m", "benchmarks", *shlex.split(arguments)]
        run += ["--json", str(RESULTS / f"{name}.json")]
        if subprocess.run(run, cwd=ROOT, env=os.environ | (TUNED if tuned else {})).returncode:
            sys.exit(f"error: {name} failed; `python -m benchmarks report {name}` runs it alone")
    PAGE.write_text(filled(PAGE.read_text()))


def command(tuned: bool, arguments: str) -> str:
    """The command that makes one of the tables."""
    allocator = "".join(f"{name}={value} " for name, value in TUNED.items()) if tuned else ""
    return f"{allocator}python -m benchmarks {arguments}"


def filled(page: str) -> str:
    """Fill in the commands and the tables of all results between the marks of the page."""
    for name, (tuned, arguments) in (RUNS | ON_GPU).items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        if begin not in page:
            continue
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        path = RESULTS / f"{name}.json"
        found = table(json.loads(path.read_text())) if path.exists() else "Not run yet."
        page = f"{before}{begin}\n```bash\n{command(tuned, arguments)}\n```\n\n{found}\n{end}{after}"
    return page


def table(result: dict) -> str:
    """The result of one command in Markdown."""
    forms = result["forms"]
    peak = max(result.get("peak_gflops", {"": 0}).values())
    for form in forms.values():
        if peak and "gflops" in form:
            form["of_peak"] = form["gflops"] / peak
    columns = [name for name in next(iter(forms.values())) if name in COLUMNS] if forms else []
    if columns:
        lines = [["", *(COLUMNS[name][0] for name in columns)], ["---"] * (len(columns) + 1)]
        lines += [[form, *(COLUMNS[c][1].format(v[c]) for c in columns)] for form, v in forms.items()]
    else:
        names = list(next(iter(forms.values())))
        lines = [["", *names], ["---"] * (len(names) + 1)]
        lines += [[form, *(f"{v:.4g}" for v in values.values())] for form, values in forms.items()]
    text = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"{text}\n\n{note(result)}"


def is_timed(result: dict) -> bool:
    """Whether the numbers are times, for which the sizes and the number of runs matter."""
    return any(name in COLUMNS or name.startswith("ms ") for form in result["forms"].values() for name in form)


def note(result: dict) -> str:
    """A line about the machine and the versions behind the numbers."""
    said = result["settings"]
    if not is_timed(result):
        return f"{said['config']}; {said['machine']}; torch {said['torch']}."
    parts = [said["config"], "x".join(map(str, said["size"])), f"batch {said['batch']}", said["precision"]]
    parts += ["compiled"] if said["compile"] else []
    parts += ["CPU time"] if said.get("cpu_time") else []
    parts += [said["machine"], f"torch {said['torch']}", f"median of {said['runs']} alternating runs"]
    if "gmac" in result:
        peaks = ", ".join(f"{name} {value:.0f}" for name, value in result["peak_gflops"].items())
        parts += [f"{result['gmac']:.1f} GMAC", f"{result['parameters'] / 1e6:.1f}M parameters"]
        parts += [f"measured peak in GFLOP/s: {peaks}"]
    return "; ".join(parts) + "."
