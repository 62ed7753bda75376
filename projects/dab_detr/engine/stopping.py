"""Stops a training before its last iteration, on a signal or at the request of a hook."""

import logging
import multiprocessing
import os
import shlex
import signal
import threading

from detectron2.engine import HookBase
from detectron2.utils import comm

from ..checkpoint.checkpointer import DABDETRCheckpointer

SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGINT") if hasattr(signal, name)]
"""Signals that preemptible machines and job schedulers send before they stop a process, and Ctrl-C."""

CTRL_C = "Ctrl-C"

GRACE = 25
"""Seconds that a step or an evaluation may take after a signal. If it takes longer, it is aborted."""

FINAL = "model_final"
"""The checkpoint of a finished training."""

logger = logging.getLogger(__name__)

_training = False


class Stopped(BaseException):
    """Raised when a training has ended early on request.

    saved: whether a checkpoint has the last step.
    """

    def __init__(self, reason: str, *, saved: bool = True):
        super().__init__(reason)
        self.saved = saved

    @property
    def interrupted(self) -> bool:
        """Whether Ctrl-C was the reason."""
        return str(self).startswith(CTRL_C)


class Stopping(HookBase):
    """Saves and ends the training after a step, on SIGTERM, SIGUSR1, Ctrl-C or the request of a hook.

    A signal to one process ends all of them after the same step. Such signals often reach data workers too; these
    continue.

    A step that does not end within `GRACE` seconds, for example because it waits for data, is aborted, and so is an
    evaluation. Then the last checkpoint counts. A second Ctrl-C aborts at once.

    This hook must come after all hooks with state, and before the hooks that only report, because these report once
    more after training.
    """

    def __init__(self, checkpointer: DABDETRCheckpointer):
        self.checkpointer, self.reason, self.name = checkpointer, None, None
        self.handlers = {}

    def ask(self, reason: str, name: str | None = None) -> None:
        """End the training after this step. name: the checkpoint's name; by default it contains the iteration."""
        if self.reason is None:
            self.reason, self.name = reason, name

    def before_train(self) -> None:
        global _training
        if threading.current_thread() is threading.main_thread():  # Python allows handlers in no other thread
            self.handlers = {number: signal.signal(number, self._signalled) for number in SIGNALS}
            self.handlers[signal.SIGALRM] = signal.signal(signal.SIGALRM, self._break_off)
            _training = True
        if reason := self._agreed():
            raise Stopped(reason)

    def after_step(self) -> None:
        iteration = self.trainer.iter
        reason = self._agreed()
        if reason and iteration + 1 < self.trainer.max_iter:
            signal.alarm(0)
            self.checkpointer.save(self.name or f"model_{iteration:07d}", iteration=iteration)
            logger.info("The training ends after %d iterations: %s", iteration + 1, reason)
            raise Stopped(reason)

    def after_train(self) -> None:
        global _training
        _training = False
        signal.alarm(0)
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def _signalled(self, number: int, _) -> None:
        name = CTRL_C if number == signal.SIGINT else signal.Signals(number).name
        if self.reason and name == CTRL_C:
            self._break_off()
        config = shlex.quote(f"{self.checkpointer.save_dir}/config.yaml")
        self.ask(f"{name}; python train_net.py --config-file {config} --resume continues from here")
        if comm.is_main_process():  # a logger may be in use by the code that the signal interrupted
            os.write(2, f"\n{name}: the training saves and ends after this step.\n".encode())
        signal.alarm(GRACE)

    def _break_off(self, *_) -> None:
        """End the training without a checkpoint of this step."""
        last = self.checkpointer.get_checkpoint_file()
        way = f"--resume continues from {last}" if last else "there is no checkpoint yet"
        raise Stopped(f"{self.reason.partition(';')[0]}, and this step did not end in time; {way}", saved=False)

    def _agreed(self) -> str | None:
        """Return the reason to end, from the first process that has one; None if none has."""
        return next(filter(None, comm.all_gather(self.reason)), None)


def pass_signals_on() -> None:
    """Make a launching process pass signals on to the processes that train, so that it ends after them.

    It does not pass on Ctrl-C, because a terminal sends that to all of them.
    """

    def pass_on(number: int, _) -> None:
        for child in multiprocessing.active_children() if number != signal.SIGINT else ():
            os.kill(child.pid, number)

    for number in SIGNALS:
        signal.signal(number, pass_on)


def _heed_parent_only() -> None:
    """Make a process that was forked during a training end on these signals only if its parent sends them."""
    if _training:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        threading.Thread(target=_wait_for_parent, args=(os.getppid(),), daemon=True).start()


def _wait_for_parent(parent: int) -> None:
    while signal.sigwaitinfo(SIGNALS).si_pid != parent:
        pass
    os._exit(0)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_heed_parent_only)
