"""Directs messages: the screen shows what a reader needs, and log.txt has everything."""

import logging
import os
import re
import sys

from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import setup_logger
from tqdm import tqdm

LOGGERS = "detectron2", "fvcore", "dab_detr"
WARNINGS = "py.warnings"  # of libraries, by `warnings.warn`
TABLES = "detectron2.evaluation.coco_evaluation"
LOG_ONLY = "dab_detr.evaluation", "dab_detr.visualization"  # at the end, the screen names the files
NO_FAULT = "Category ids in annotations are not in [1, #categories]!"  # Detectron2 maps them, as it should
FAILED = "detectron2.engine.train_loop"  # logs an exception that the program reports anyway
ESCAPES = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


def direct_messages(output_dir: str, *, rank: int = 0, tables: bool = False) -> None:
    """Send all messages to `log.txt` in the output folder, and those for the reader to the screen.

    Only the main process writes to the screen. The others log to `log.txt.rank1` and so on. Warnings of libraries go to
    the log. A second call, for another training in this process, replaces the first.

    tables: whether the screen shows the tables of evaluations.
    """
    for name in LOGGERS:  # with the arguments of default_setup, so that it adds no handlers later
        if name == "detectron2":
            setup_logger(output_dir, distributed_rank=rank)
        else:
            setup_logger(output_dir, distributed_rank=rank, name=name)
    PathManager.mkdirs(output_dir)
    path = os.path.join(output_dir, f"log.txt.rank{rank}" if rank else "log.txt")
    handlers = [LogFile(path)] if rank else [LogFile(path), Screen(tables=tables)]
    logging.captureWarnings(True)
    for name in (*LOGGERS, WARNINGS):
        logger = logging.getLogger(name)
        for handler in list(logger.handlers):
            if type(handler) in (logging.StreamHandler, LogFile, Screen):
                logger.removeHandler(handler)
                if isinstance(handler, LogFile):
                    handler.close()
        for handler in handlers:
            logger.addHandler(handler)
        logger.propagate = False


class LogFile(logging.StreamHandler):
    """Appends every message to a file, without the escape codes of colors."""

    def __init__(self, path: str):
        super().__init__(PathManager.open(path, "a"))
        self.setFormatter(
            logging.Formatter("[%(asctime)s] %(name)s %(levelname)s: %(message)s", datefmt="%m/%d %H:%M:%S")
        )

    def close(self) -> None:
        self.stream.close()
        super().close()

    def format(self, record: logging.LogRecord) -> str:
        return ESCAPES.sub("", super().format(record))


class Screen(logging.Handler):
    """Shows messages of this project and warnings, above the progress bar if there is one.

    tables: whether to show tables of evaluations too.
    """

    def __init__(self, *, tables: bool):
        super().__init__()
        self.tables = tables

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name in (WARNINGS, FAILED) or NO_FAULT in record.getMessage():
            return False
        if record.levelno >= logging.WARNING or (self.tables and record.name == TABLES):
            return True
        return record.levelno == logging.INFO and record.name.startswith("dab_detr.") and not from_any(record, LOG_ONLY)

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        show(f"{record.levelname.lower()}: {text}" if record.levelno >= logging.WARNING else text)


def from_any(record: logging.LogRecord, names: tuple[str, ...]) -> bool:
    """Whether one of these modules, or a module below them, logged a record."""
    return f"{record.name}.".startswith(tuple(f"{name}." for name in names))


def show(text: str) -> None:
    """Print lines, above a progress bar if there is one."""
    tqdm.write(text, file=sys.stdout)
    sys.stdout.flush()
