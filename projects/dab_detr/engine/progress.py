"""Progress of a training on the terminal and in files."""

import logging
import sys
from collections.abc import Sequence

import torch
from detectron2.engine import default_writers
from detectron2.utils.events import EventWriter

from .trackers import trackers


def progress_writers(output_dir: str, max_iter: int, others: Sequence[str] = ()) -> list[EventWriter]:
    """Detectron2's writers: to the terminal (on CPU too with the memory in use), metrics.json and TensorBoard.

    others: names of `trackers` beside them.
    """
    writers = default_writers(output_dir, max_iter) + trackers(others, output_dir)
    if not torch.cuda.is_available() and sys.platform != "win32":
        writers[0].logger = _WithMemory(writers[0].logger, {})
    return writers


class _WithMemory(logging.LoggerAdapter):
    """Add the peak memory of this process to the line of progress, as Detectron2 does on GPUs."""

    def process(self, msg, kwargs):
        from resource import RUSAGE_SELF, getrusage  # not on Windows

        kilobyte = 1024 if sys.platform == "darwin" else 1
        peak = getrusage(RUSAGE_SELF).ru_maxrss / kilobyte / 1024
        return f"{msg}max_mem: {peak:.0f}M", kwargs
