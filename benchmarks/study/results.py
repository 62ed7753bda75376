"""Reads what a training left, and collects the results of all runs.

Results outlive the folder of the trainings: a file beside the page keeps them, and a run whose command has a result
there is done.
"""

import csv
import json
import platform
import subprocess
from itertools import pairwise
from pathlib import Path

from dab_detr.checkpoint.writing import atomic_write

ROOT = Path(__file__).parents[2]
METRIC = "bbox/AP"
CPUINFO = Path("/proc/cpuinfo")


def curve(folder: Path, last: int | None) -> list[list[float]]:
    """[[step, AP], ...] of a training. If a resumed run has two entries for one step, the last one counts.

    last: the number of steps. Detectron2 counts the evaluation at the end as one step later.
    """
    found = {}
    for line in (folder / "metrics.json").read_text().splitlines():
        entry = json.loads(line)
        if METRIC in entry:
            step = entry["iteration"] + 1
            found[step if last is None else min(step, last)] = entry[METRIC]
    return [[step, found[step]] for step in sorted(found)]


def classes(folder: Path) -> dict[str, float]:
    """AP50 by class at the end of a training."""
    with (folder / "inference" / "classes.csv").open() as file:
        return {row["class"]: float(row["AP50"]) for row in csv.DictReader(file)}


def seconds(folder: Path) -> int:
    """The time of all steps of a training, resumed ones included, without evaluations."""
    times = {}
    for line in (folder / "metrics.json").read_text().splitlines():
        entry = json.loads(line)
        if "time" in entry:
            times[entry["iteration"] + 1] = entry["time"]
    return round(sum(times[step] * (step - before) for before, step in pairwise([0, *sorted(times)])))


def commit() -> str:
    """The commit of the checkout, or "unknown"."""
    answer = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    return answer.stdout.strip() or "unknown"


def processor() -> str:
    """The model of the processor if Linux knows it, else its architecture."""
    lines = CPUINFO.read_text().splitlines() if CPUINFO.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def write(path: Path, content: object) -> None:
    """Write JSON, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())


def stored(path: Path) -> list[dict]:
    """The results in a file that `collect` wrote; none if there is no file."""
    return json.loads(path.read_text()) if path.is_file() else []


def collect(output: Path, target: Path) -> list[dict]:
    """Add all results below `output` to those in `target`, sorted by row and seed.

    A new result replaces an old one of the same row and seed.
    """
    found = {(x["row"], x["seed"]): x for x in stored(target)}
    for path in output.glob("*/seed*.json"):
        result = json.loads(path.read_text())
        found[result["row"], result["seed"]] = result
    results = [found[key] for key in sorted(found)]
    write(target, results)
    return results
