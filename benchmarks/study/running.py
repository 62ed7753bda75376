"""Performs the runs of a study. A run with a result is not repeated."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from threading import Lock

import torch

from dab_detr.checkpoint.reading import read
from dab_detr.config import load
from dab_detr.engine.device import usable_cores

from .attention import over_training
from .lite0 import LITE0, backbone_weights
from .presets import Preset
from .results import ROOT, classes, commit, curve, processor, seconds, write
from .runs import BACKBONE, LAST, Run
from .starts import fingerprint, part, write_start, write_weights

IN_THIS_PROCESS = Lock()  # datasets are registered, and models run, one at a time
TRAININGS: set[subprocess.Popen] = set()  # that run now


def train(arguments: Sequence[str], log: Path, threads: int, gpu: str | None = None) -> int:
    """Run train_net.py in its own process, on one GPU if it is given. Return its exit status.

    Ctrl-C reaches the study alone, which then stops its trainings: two signals would abort one before it saves.
    """
    command = [sys.executable, str(ROOT / "train_net.py"), *arguments]
    log.parent.mkdir(parents=True, exist_ok=True)
    options = {"cwd": ROOT, "start_new_session": True, "env": os.environ | {"OMP_NUM_THREADS": str(threads)}}
    if gpu:
        options["env"]["CUDA_VISIBLE_DEVICES"] = gpu
    with log.open("a") as stream, subprocess.Popen(command, stdout=stream, stderr=stream, **options) as training:
        TRAININGS.add(training)
        try:
            return training.wait()
        finally:
            TRAININGS.discard(training)


def train_to_the_end(arguments: Sequence[str], folder: Path, threads: int, gpu: str | None = None) -> None:
    """Train into `folder`, with a log beside it.

    Raises ValueError for a training that fails or is stopped. After SIGTERM, train_net.py saves and exits with 0.
    """
    log = folder.with_suffix(".log")
    if status := train(arguments, log, threads, gpu):
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
    """Write the weights of the backbone that the runs of a preset start from, unless the right ones are there.

    kept: the folder of the results. A trained backbone is kept there too, and copied from there the next time.

    Raises ValueError if the training of a backbone fails or is stopped.
    """
    path, folder, source = output / BACKBONE, output / "backbone", kept_backbone(preset, kept)
    is_kept = source is not None and source.is_file()
    if not preset.backbone or (path.is_file() and not (is_kept and fingerprint(source) != fingerprint(path))):
        return
    if preset.backbone == LITE0:
        return write_weights(path, backbone_weights())
    if is_kept:
        return write_weights(path, read(source)["model"])
    resume = ["--resume"] if folder.is_dir() else []
    overrides = [*preset.overrides, "train.seed=0", f"train.output_dir={folder}"]
    train_to_the_end(["--config-file", f"configs/{preset.backbone}.py", *resume, *overrides], folder, threads)
    state = part("backbone", folder / LAST)
    write_weights(source, state)
    write_weights(path, state)


def perform(run: Run, *, threads: int, gpu: str | None = None, after: Future | None = None, again: bool = False) -> str:
    """Perform one run and write its result. Return a line about what happened, an error included.

    after: the run whose queries it starts from.
    again: whether to train again even if it has a result. The earlier files are set aside.
    """
    name = f"{run.row.name}, seed {run.seed}"
    try:
        if after:
            after.result()
        if again or not is_started(run):
            run.set_aside()
        elif run.result.exists():
            return f"{name}: done before"
        return f"{name}: {trained(run, threads, gpu)}"
    except Exception as error:  # the other runs go on
        return f"{name}: failed: {error}"


def is_started(run: Run) -> bool:
    """Whether the files of a run, if there are any, come from its command and its backbone."""
    if run.result.exists():
        backbone = fingerprint(run.backbone_file) if run.backbone_file else None
        return run.is_known([json.loads(run.result.read_text())], backbone)
    return not run.command_file.exists() or run.command_file.read_text() == run.command


def is_trained(run: Run) -> bool:
    """Whether a training has ended, its last evaluation included."""
    metrics = run.folder / "metrics.json"
    if not (run.folder / LAST).is_file() or not metrics.is_file() or not run.steps:
        return False
    return any(step >= run.steps for step, _ in curve(run.folder, run.steps))


def prepare(run: Run) -> None:
    """Write what a training needs before it starts: the record of its command and the start of its queries."""
    run.command_file.parent.mkdir(parents=True, exist_ok=True)
    run.command_file.write_text(run.command)
    if run.starts_elsewhere and not run.folder.is_dir():
        cfg = load(ROOT / run.config, [*run.row.overrides, *run.preset.overrides])
        with IN_THIS_PROCESS:
            write_start(
                run.row.start,
                run.start_file,
                cfg,
                seed=run.seed,
                trained=run.queries_checkpoint,
                backbone=run.backbone_file,
            )


def trained(run: Run, threads: int, gpu: str | None = None) -> str:
    """Train, measure and write the result. Return the AP.

    Raises ValueError for a training that fails or is stopped.
    """
    if not is_trained(run):
        prepare(run)
        train_to_the_end(run.arguments(), run.folder, threads, gpu)
    result = {
        "row": run.row.name,
        "seed": run.seed,
        "curve": curve(run.folder, run.steps),
        "classes": classes(run.folder),
        "command": run.command,
        "commit": commit(),
        "machine": f"{processor()}, {threads} thread{'s' if threads > 1 else ''}",
        "seconds": seconds(run.folder),
    }
    if run.backbone_file:
        result["backbone"] = fingerprint(run.backbone_file)
    if run.measures_attention:
        cfg = load(ROOT / run.config, [*run.row.overrides, *run.preset.overrides])
        with IN_THIS_PROCESS:
            torch.set_num_threads(threads)
            steps = range(run.period, run.steps + 1, run.period)
            result["attention"] = over_training(run.folder, cfg, steps)
    write(run.result, result)
    return f"AP {result['curve'][-1][1]:.1f}"


def gpus() -> list[str]:
    """The GPUs of this machine that the study may use, as CUDA_VISIBLE_DEVICES names them."""
    names = os.environ.get("CUDA_VISIBLE_DEVICES")
    return names.split(",") if names else [str(i) for i in range(torch.cuda.device_count())]


def perform_all(runs: Sequence[Run], *, jobs: int, again: bool = False) -> Iterator[str]:
    """Perform the runs, `jobs` at a time, each on one of the GPUs if there are any. Yield a line for each.

    If the study is stopped, no other run begins, and those that train get SIGTERM: they save and can be resumed.
    """
    threads, futures, free = max(1, usable_cores() // jobs), {}, SimpleQueue()
    for i in range(jobs):
        free.put(gpus()[i % len(gpus())] if gpus() else None)

    def on_a_gpu(run: Run, after: Future | None) -> str:
        gpu = free.get()
        try:
            return perform(run, threads=threads, gpu=gpu, after=after, again=again)
        finally:
            free.put(gpu)

    pool = ThreadPoolExecutor(jobs)
    try:
        for run in runs:
            after = futures.get((run.row.queries_of, run.seed))
            futures[run.row.name, run.seed] = pool.submit(on_a_gpu, run, after)
        for future in futures.values():
            yield future.result()
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for training in list(TRAININGS):
            training.terminate()
        raise
    finally:
        pool.shutdown()
