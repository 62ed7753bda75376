"""The line of progress."""

import pytest
import torch
from detectron2.utils.events import CommonMetricPrinter, EventStorage, JSONWriter, TensorboardXWriter

from dab_detr.engine.progress import ShowProgress, progress_writers


@pytest.fixture
def printed(monkeypatch):
    """What the printer logs, whatever the logging set-up."""
    lines = []
    monkeypatch.setattr("logging.Logger._log", lambda self, level, msg, args, **kwargs: lines.append(msg % args))
    monkeypatch.setattr("logging.Logger.isEnabledFor", lambda self, level: True)
    return lines


def test_progress_tells_losses_rate_and_memory_on_cpu(tmp_path, printed, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    printer, *others = progress_writers(str(tmp_path), max_iter=100)
    assert isinstance(printer, CommonMetricPrinter)
    assert [type(x) for x in others] == [JSONWriter, TensorboardXWriter]
    with EventStorage(9) as storage:
        storage.put_scalars(total_loss=2.5, loss_ce=1.5, time=2.0)
        storage.put_scalar("lr", 1e-4)
        printer.write()
    (line,) = (x for x in printed if "iter: " in x)
    for part in ("eta: 0:03:00", "iter: 9", "total_loss: 2.5", "loss_ce: 1.5", "lr: 0.0001"):
        assert part in line
    memory = float(line.rpartition("max_mem: ")[2].removesuffix("M"))
    assert 50 < memory < 100_000


def test_an_error_before_the_first_step_is_not_hidden():
    """Detectron2 calls `after_train` of all hooks even if `before_train` of one of them raised an error."""
    hook = ShowProgress()
    hook.after_train()
    assert hook.progress is None


def test_detectron2_tells_the_memory_of_a_gpu(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    printer, *_ = progress_writers(str(tmp_path), max_iter=100)
    assert printer.logger is CommonMetricPrinter(100).logger
