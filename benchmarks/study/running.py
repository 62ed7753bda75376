"""The runs of a study. Each is one command of train_net.py. A run with a result is not repeated."""

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from dab_detr.checkpoint.writing import atomic_write
from dab_detr.config import load

from .attention import over_training
from .rows import Preset, Row
from .starts import write_start

ROOT = Path(__file__).parents[2]
METRIC = "bbox/AP"


@dataclass(frozen=True)
class Run:
    """One training of a row with one seed, in `folder`."""

    row: Row
    preset: Preset
    seed: int
    folder: Path

    @property
    def result(self) -> Path:
        """The file of its result."""
        return self.folder.with_suffix(".json")

    @property
    def config(self) -> str:
        """Its config below the root of the checkout."""
        return f"configs/{self.row.coco if self.preset.configs == 'coco' else self.row.small}.py"

    @property
    def start(self) -> Path:
        """The file of its queries' start, if its row has one."""
        return self.folder.with_suffix(".start.pth")

    @property
    def base(self) -> Path:
        """The checkpoint of the run that it is compared with."""
        return self.folder.parents[1] / self.row.base / self.folder.name / "model_final.pth"

    def arguments(self) -> list[str]:
        """The arguments of train_net.py."""
        overrides = [f"train.seed={self.seed}", f"train.output_dir={self.folder}"]
        if self.preset.steps:
            steps = round(self.preset.steps * self.row.steps)
            period = max(1, steps // self.preset.evaluations)
            overrides += [f"train.max_iter={steps}", f"train.eval_period={period}"]
            if self.row.attention:
                keep = steps // period + 1
                overrides += [f"train.checkpointer.period={period}", f"train.checkpointer.max_to_keep={keep}"]
        if self.row.start:
            overrides += [f"train.init_checkpoint={self.start}", "train.init_partially=True"]
        resume = ["--resume"] if self.folder.is_dir() else []
        return [
            "--config-file",
            self.config,
            *resume,
            *self.row.overrides,
            *self.preset.overrides,
            *overrides,
        ]


def planned(rows: Sequence[Row], preset: Preset, output: Path) -> list[Run]:
    """All runs of these rows, the first seed of every row first. A row without a config for the preset has no runs."""
    usable = [row for row in rows if row.small or preset.configs == "coco"]
    usable = [row for row in usable if row.coco or preset.configs != "coco"]
    most = max(preset.seeds, preset.core_seeds)
    return [
        Run(row, preset, seed, output / row.name / f"seed{seed}")
        for seed in range(most)
        for row in usable
        if seed < (preset.core_seeds if row.core else preset.seeds)
    ]


def train(arguments: Sequence[str], log: Path, threads: int) -> int:
    """Run train_net.py in its own process. Return its exit status."""
    command = [sys.executable, str(ROOT / "train_net.py"), *arguments]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as stream:
        environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
        return subprocess.run(command, stdout=stream, stderr=stream, cwd=ROOT, env=environment).returncode


def curve(folder: Path) -> list[list[float]]:
    """[[step, AP], ...] of a training. If a resumed run has two entries for one step, the last one counts."""
    found = {}
    for line in (folder / "metrics.json").read_text().splitlines():
        entry = json.loads(line)
        if METRIC in entry:
            found[entry["iteration"] + 1] = entry[METRIC]
    return [[step, found[step]] for step in sorted(found)]


def commit() -> str:
    """The commit of the checkout, or "unknown"."""
    answer = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    return answer.stdout.strip() or "unknown"


def write(path: Path, content: object) -> None:
    """Write JSON, complete or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write((json.dumps(content, indent=1) + "\n").encode())


def perform(run: Run, *, threads: int) -> str:
    """Perform one run and write its result. Return a line about what happened."""
    name = f"{run.row.name}, seed {run.seed}"
    if run.result.exists():
        return f"{name}: done before"
    cfg = load(ROOT / run.config, [*run.row.overrides, *run.preset.overrides])
    if run.row.start and not run.start.exists():
        try:
            write_start(run.row.start, run.start, cfg, seed=run.seed, trained=run.base)
        except ValueError as error:
            return f"{name}: failed: {error}"
    arguments, begin = run.arguments(), time.monotonic()
    status = train(arguments, run.folder.with_suffix(".log"), threads)
    if status:
        return f"{name}: failed with status {status}, see {run.folder.with_suffix('.log')}"
    relative = [x.replace(f"{run.folder}", f"output/study/{run.row.name}/seed{run.seed}") for x in arguments]
    result = {
        "row": run.row.name,
        "seed": run.seed,
        "curve": curve(run.folder),
        "command": shlex.join(["python", "train_net.py", *(x for x in relative if x != "--resume")]),
        "commit": commit(),
        "machine": f"{platform.machine()}, {threads} threads",
        "seconds": round(time.monotonic() - begin),
    }
    if run.row.attention:
        result["attention"] = over_training(run.folder, cfg)
    write(run.result, result)
    return f"{name}: AP {result['curve'][-1][1]:.1f}"


def perform_all(runs: Sequence[Run], *, jobs: int) -> Iterator[str]:
    """Perform the runs, `jobs` at a time. Yield a line for each."""
    threads = max(1, cores() // jobs)
    with ThreadPoolExecutor(jobs) as pool:
        yield from pool.map(lambda run: perform(run, threads=threads), runs)


def cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def collect(output: Path, target: Path) -> list[dict]:
    """Gather all results below `output` into one file, sorted by row and seed."""
    found = [json.loads(path.read_text()) for path in output.glob("*/seed*.json")]
    found.sort(key=lambda x: (x["row"], x["seed"]))
    write(target, found)
    return found
