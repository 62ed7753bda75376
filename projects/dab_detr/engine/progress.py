"""Progress of a training, on the screen and in files."""

import datetime
import logging
import sys
import time
from collections.abc import Iterable, Iterator, Sequence, Sized

import torch
from detectron2.engine import HookBase, default_writers
from detectron2.utils.events import EventStorage, EventWriter
from tqdm import tqdm

from .screen import show
from .trackers import trackers

LINES_EVERY = 30.0  # seconds between lines, if the screen is not a terminal
WINDOW = 20  # iterations in the median of a loss on the screen, as in the log


def progress_writers(output_dir: str, max_iter: int, others: Sequence[str] = ()) -> list[EventWriter]:
    """Detectron2's writers, for the log (with peak memory on a CPU too), metrics.json and TensorBoard.

    others: names of further writers, see `trackers`.
    """
    writers = default_writers(output_dir, max_iter) + trackers(others, output_dir)
    if not torch.cuda.is_available() and sys.platform != "win32":
        writers[0].logger = _WithMemory(writers[0].logger, {})
    return writers


class _WithMemory(logging.LoggerAdapter):
    """Adds the peak memory of this process to the progress line, as Detectron2 does on GPUs."""

    def process(self, msg, kwargs):
        from resource import RUSAGE_SELF, getrusage  # not on Windows

        kilobyte = 1024 if sys.platform == "darwin" else 1
        peak = getrusage(RUSAGE_SELF).ru_maxrss / kilobyte / 1024
        return f"{msg}max_mem: {peak:.0f}M", kwargs


class Progress:
    """A progress bar on a terminal; elsewhere a line after the first step and then every half minute.

    total: the number of steps. start: how many of them are already done. title: the name of the steps.
    """

    def __init__(self, total: int, *, start: int = 0, title: str = ""):
        self.total, self.done, self.title = total, start, title
        self.began = self.warm = self.last = None
        self.bar = None
        if sys.stdout.isatty():
            self.bar = tqdm(total=total, initial=start, desc=title, file=sys.stdout, dynamic_ncols=True, leave=False)

    def step(self, text: str = "") -> None:
        """Count one step. `text` is shown beside the count."""
        self.done += 1
        if self.began is None:
            self.began, self.warm = time.monotonic(), self.done
        if self.bar is not None:
            if text:
                self.bar.set_postfix_str(text, refresh=False)
            self.bar.update()
        elif self.last is None or self.done == self.total or time.monotonic() - self.last >= LINES_EVERY:
            self.last = time.monotonic()
            left = self.remaining()
            count = f"{self.title} {self.done}/{self.total}" + (f", {left} left" if left else "")
            show(f"{count}; {text}" if text else count)

    def remaining(self) -> str | None:
        """The time left, at the pace of all steps except the slow first one; None until a second step is done."""
        if self.done == self.warm:
            return None
        pace = (time.monotonic() - self.began) / (self.done - self.warm)
        return str(datetime.timedelta(seconds=round(pace * (self.total - self.done))))

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()


class Shown(Iterable, Sized):
    """Wraps a loader, and shows the progress of a pass over it."""

    def __init__(self, loader, title: str):
        self.loader, self.title = loader, title

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator:
        progress = Progress(len(self.loader), title=self.title)
        try:
            for batch in self.loader:
                yield batch
                progress.step()
        finally:
            progress.close()


class ShowProgress(HookBase):
    """Shows the progress of a training, its losses and the last AP. It must be the main process's last hook."""

    def __init__(self):
        self.progress: Progress | None = None

    def before_train(self) -> None:
        self.progress = Progress(self.trainer.max_iter, start=self.trainer.start_iter, title="iteration")

    def after_step(self) -> None:
        self.progress.step(numbers(self.trainer.storage))

    def after_train(self) -> None:
        if self.progress:  # Detectron2 calls this too if another hook raised an error before the training
            self.progress.close()


def numbers(storage: EventStorage) -> str:
    """The last layer's losses (medians over `WINDOW` iterations) and the last AP, in a few words."""
    histories, latest = storage.histories(), storage.latest()
    shown = {"total_loss": "loss", "loss_ce": "class", "loss_bbox": "box", "loss_giou": "giou"}
    found = [f"{word} {histories[name].median(WINDOW):.3g}" for name, word in shown.items() if name in histories]
    scores = {"bbox/AP": "AP", "ema/bbox/AP": "AP of EMA"}
    return ", ".join(found + [f"{word} {latest[name][0]:.1f}" for name, word in scores.items() if name in latest])
