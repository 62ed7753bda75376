"""The runs of a study. Each is one command of train_net.py. A run with a result is not repeated.

Results outlive the folder of the trainings: a file beside the page keeps them, and a run whose command has a result
there is done.
"""

import json
import os
import platform
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import torch

from dab_detr.checkpoint.writing import atomic_write
from dab_detr.config import load
from dab_detr.engine.device import usable_cores

from .attention import over_training
from .rows import Preset, Row
from .starts import TRAINED, write_start

ROOT = Path(__file__).parents[2]
METRIC = "bbox/AP"
IN_THIS_PROCESS = Lock()  # datasets are registered, and models run, one at a time


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
    def start_file(self) -> Path:
        """The file of its queries' start, if its row has one."""
        return self.folder.with_suffix(".start.pth")

    @property
    def steps(self) -> int:
        """Its number of steps, if the preset has one."""
        return round(self.preset.steps * self.row.steps)

    @property
    def period(self) -> int:
        """The number of steps between two evaluations."""
        return max(1, self.steps // self.preset.evaluations)

    @property
    def measures_attention(self) -> bool:
        """Whether it keeps the checkpoint of every evaluation for `over_training`."""
        return self.row.attention and self.preset.steps is not None

    @property
    def base_checkpoint(self) -> Path:
        """The checkpoint of the run that it is compared with."""
        return self.folder.parents[1] / self.row.base / self.folder.name / "model_final.pth"

    @property
    def command(self) -> str:
        """The command that does the same in another checkout, without --resume."""
        output = f"output/study/{self.folder.relative_to(self.folder.parents[2])}"
        words = [x.replace(f"{self.folder}", output) for x in self.arguments() if x != "--resume"]
        return shlex.join(["python", "train_net.py", *words])

    def is_known(self, results: Sequence[Mapping]) -> bool:
        """Whether one of these results is of the same command."""
        return any(x["command"] == self.command for x in results)

    def arguments(self) -> list[str]:
        """The arguments of train_net.py."""
        overrides = [f"train.seed={self.seed}", f"train.output_dir={self.folder}"]
        if self.preset.steps:
            overrides += [f"train.max_iter={self.steps}", f"train.eval_period={self.period}"]
        if self.measures_attention:
            overrides += [f"train.checkpointer.period={self.period}", "train.checkpointer.max_to_keep=null"]
        if self.row.start:
            overrides += [f"train.init_checkpoint={self.start_file}", "train.init_partially=True"]
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
    """All runs of these rows, the first seed of every row first. A row without a config for the preset has no runs.

    Rows that start from another row's queries come after the others.
    """
    usable = [row for row in rows if row.small or preset.configs == "coco"]
    usable = [row for row in usable if row.coco or preset.configs != "coco"]
    usable.sort(key=lambda row: row.start == TRAINED)
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
    """Train and write the result. Return the AP, or say that the training failed."""
    cfg = load(ROOT / run.config, [*run.row.overrides, *run.preset.overrides])
    if run.row.start and not run.folder.is_dir():
        with IN_THIS_PROCESS:
            write_start(run.row.start, run.start_file, cfg, seed=run.seed, trained=run.base_checkpoint)
    arguments, begin = run.arguments(), time.monotonic()
    status = train(arguments, run.folder.with_suffix(".log"), threads)
    if status:
        return f"failed with status {status}, see {run.folder.with_suffix('.log')}"
    result = {
        "row": run.row.name,
        "seed": run.seed,
        "curve": curve(run.folder),
        "command": run.command,
        "commit": commit(),
        "machine": f"{platform.machine()}, {threads} threads",
        "seconds": round(time.monotonic() - begin),
    }
    write(run.result, result)
    if run.measures_attention:
        with IN_THIS_PROCESS:
            torch.set_num_threads(threads)
            steps = range(run.period, run.steps + 1, run.period)
            write(run.result, result | {"attention": over_training(run.folder, cfg, steps)})
    return f"AP {result['curve'][-1][1]:.1f}"


def perform_all(runs: Sequence[Run], *, jobs: int) -> Iterator[str]:
    """Perform the runs, `jobs` at a time. Yield a line for each."""
    threads, futures = max(1, usable_cores() // jobs), {}
    with ThreadPoolExecutor(jobs) as pool:
        for run in runs:
            after = futures.get((run.row.base, run.seed)) if run.row.start == TRAINED else None
            futures[run.row.name, run.seed] = pool.submit(perform, run, threads=threads, after=after)
        for future in futures.values():
            yield future.result()


def stored(path: Path) -> list[dict]:
    """The results in a file that `collect` wrote; none if there is no file."""
    return json.loads(path.read_text()) if path.is_file() else []


def collect(output: Path, target: Path) -> list[dict]:
    """Add all results below `output` to those in `target`, sorted by row and seed. A new result replaces an old one."""
    found = {(x["row"], x["seed"]): x for x in stored(target)}
    for path in output.glob("*/seed*.json"):
        result = json.loads(path.read_text())
        found[result["row"], result["seed"]] = result
    results = [found[key] for key in sorted(found)]
    write(target, results)
    return results
