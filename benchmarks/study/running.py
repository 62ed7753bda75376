"""Performs the runs of a study. A run with a result is not repeated.

Results outlive the folder of the trainings: a file beside the page keeps them, and a run whose command has a result
there is done.
"""

import csv
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Lock

import torch

from dab_detr.checkpoint.reading import read
from dab_detr.checkpoint.writing import atomic_write
from dab_detr.config import load
from dab_detr.engine.device import usable_cores

from .attention import over_training
from .lite0 import LITE0, backbone_weights
from .rows import Preset
from .runs import BACKBONE, LAST, Run
from .starts import fingerprint, part, write_start, write_weights

ROOT = Path(__file__).parents[2]
METRIC = "bbox/AP"
CPUINFO = Path("/proc/cpuinfo")
IN_THIS_PROCESS = Lock()  # datasets are registered, and models run, one at a time


def train(arguments: Sequence[str], log: Path, threads: int) -> int:
    """Run train_net.py in its own process. Return its exit status."""
    command = [sys.executable, str(ROOT / "train_net.py"), *arguments]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as stream:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        return subprocess.run(command, stdout=stream, stderr=stream, cwd=ROOT, env=environment).returncode


def train_to_the_end(arguments: Sequence[str], folder: Path, threads: int) -> None:
    """Train into `folder`, with a log beside it.

    Raises ValueError for a training that fails or is stopped. After SIGTERM, train_net.py saves and exits with 0.
    """
    log = folder.with_suffix(".log")
    if status := train(arguments, log, threads):
        raise ValueError(f"the training ended with status {status}, see {log}")
    if not (folder / LAST).is_file():
        raise ValueError(f"the training was stopped, see {log}; the same command continues it")


def kept_backbone(preset: Preset, folder: Path) -> Path | None:
    """The file that keeps the trained backbone of a preset in the folder of the results; None if it trains none.

    Results of another machine or day can be compared only if they started from the same file.
    """
    trains = preset.backbone not in ("", LITE0)
    return folder / f"backbone_{Path(preset.backbone).name}.pth" if trains else None


def provide_backbone(preset: Preset, output: Path, kept: Path, *, threads: int) -> None:
    """Write the weights of the backbone that the runs of a preset start from, unless they are there.

    kept: the folder of the results. A trained backbone is kept there too, and copied from there the next time.

    Raises ValueError if the training of a backbone fails or is stopped.
    """
    path, folder = output / BACKBONE, output / "backbone"
    if not preset.backbone or path.is_file():
        return
    if preset.backbone == LITE0:
        return write_weights(path, backbone_weights())
    source = kept_backbone(preset, kept)
    if source.is_file():
        return write_weights(path, read(source)["model"])
    resume = ["--resume"] if folder.is_dir() else []
    overrides = [*preset.overrides, "train.seed=0", f"train.output_dir={folder}"]
    train_to_the_end(["--config-file", f"configs/{preset.backbone}.py", *resume, *overrides], folder, threads)
    state = part("backbone", folder / LAST)
    write_weights(source, state)
    write_weights(path, state)


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


def perform(run: Run, *, threads: int, after: Future | None = None) -> str:
    """Perform one run and write its result. Return a line about what happened, an error included.

    after: the run whose queries it starts from.
    """
    name = f"{run.row.name}, seed {run.seed}"
    if run.result.exists():
        return f"{name}: done before"
    try:
        if after:
            after.result()
        return f"{name}: {trained(run, threads)}"
    except Exception as error:  # the other runs go on
        return f"{name}: failed: {error}"


def trained(run: Run, threads: int) -> str:
    """Train, measure and write the result. Return the AP.

    Raises ValueError for a training that fails or is stopped.
    """
    cfg = load(ROOT / run.config, [*run.row.overrides, *run.preset.overrides])
    if run.starts_elsewhere and not run.folder.is_dir():
        with IN_THIS_PROCESS:
            write_start(
                run.row.start,
                run.start_file,
                cfg,
                seed=run.seed,
                trained=run.queries_checkpoint,
                backbone=run.backbone_file,
            )
    arguments, begin = run.arguments(), time.monotonic()
    train_to_the_end(arguments, run.folder, threads)
    result = {
        "row": run.row.name,
        "seed": run.seed,
        "curve": curve(run.folder, run.steps),
        "classes": classes(run.folder),
        "command": run.command,
        "commit": commit(),
        "machine": f"{processor()}, {threads} threads",
        "seconds": round(time.monotonic() - begin),
    }
    if run.backbone_file:
        result["backbone"] = fingerprint(run.backbone_file)
    if run.measures_attention:
        with IN_THIS_PROCESS:
            torch.set_num_threads(threads)
            steps = range(run.period, run.steps + 1, run.period)
            result["attention"] = over_training(run.folder, cfg, steps)
    write(run.result, result)
    return f"AP {result['curve'][-1][1]:.1f}"


def perform_all(runs: Sequence[Run], *, jobs: int) -> Iterator[str]:
    """Perform the runs, `jobs` at a time. Yield a line for each."""
    threads, futures = max(1, usable_cores() // jobs), {}
    with ThreadPoolExecutor(jobs) as pool:
        for run in runs:
            after = futures.get((run.row.queries_of, run.seed))
            futures[run.row.name, run.seed] = pool.submit(perform, run, threads=threads, after=after)
        for future in futures.values():
            yield future.result()


def stored(path: Path) -> list[dict]:
    """The results in a file that `collect` wrote; none if there is no file."""
    return json.loads(path.read_text()) if path.is_file() else []


def collect(output: Path, target: Path) -> list[dict]:
    """Add all results below `output` to those in `target`, sorted by row and seed.

    A new result replaces an old one of the same row, seed and backbone.
    """
    found = {(x["row"], x["seed"], x.get("backbone", "")): x for x in stored(target)}
    for path in output.glob("*/seed*.json"):
        result = json.loads(path.read_text())
        found[result["row"], result["seed"], result.get("backbone", "")] = result
    results = [found[key] for key in sorted(found)]
    write(target, results)
    return results
