"""Stop a training before its last iteration, by a signal or because a hook asks for it."""

import logging
import multiprocessing
import os
import signal
import threading

from detectron2.engine import HookBase
from detectron2.utils import comm

from ..checkpoint.checkpointer import DABDETRCheckpointer

SIGNALS = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)]
"""Signals that preemptible machines and job schedulers send before they stop a process."""

FINAL = "model_final"
"""The checkpoint of a finished training."""

logger = logging.getLogger(__name__)

_training = False


class Stopped(BaseException):
    """Raised when a training has ended early on request, with everything saved."""


class Stopping(HookBase):
    """Save and end the training after the step in which SIGTERM or SIGUSR1 came or a hook asked, whichever process
    it was in. Data workers, which such signals often reach too, go on.

    Its place is behind all hooks that have a state, and before those that only tell: they do once more after training.
    """

    def __init__(self, checkpointer: DABDETRCheckpointer):
        self.checkpointer, self.reason, self.name = checkpointer, None, None
        self.handlers = {}

    def ask(self, reason: str, name: str | None = None) -> None:
        """End the training after this step. `name` names the checkpoint; by default the iteration does."""
        if self.reason is None:
            self.reason, self.name = reason, name

    def before_train(self) -> None:
        global _training
        if threading.current_thread() is threading.main_thread():  # others cannot ask for signals
            self.handlers = {number: signal.signal(number, self._signalled) for number in SIGNALS}
            _training = True
        if reason := self._agreed():
            raise Stopped(reason)

    def after_step(self) -> None:
        iteration = self.trainer.iter
        reason = self._agreed()
        if reason and iteration + 1 < self.trainer.max_iter:
            self.checkpointer.save(self.name or f"model_{iteration:07d}", iteration=iteration)
            logger.info("The training ends after %d iterations: %s", iteration + 1, reason)
            raise Stopped(reason)

    def after_train(self) -> None:
        global _training
        _training = False
        for number, handler in self.handlers.items():
            signal.signal(number, handler)

    def _signalled(self, number: int, _) -> None:
        self.ask(f"{signal.Signals(number).name} came. --resume goes on from here")

    def _agreed(self) -> str | None:
        """Return the reason to end of the first process that has one."""
        return next(filter(None, comm.all_gather(self.reason)), None)


def pass_signals_on() -> None:
    """Let a launching process leave signals to the processes that train, and end after them."""

    def pass_on(number: int, _) -> None:
        for child in multiprocessing.active_children():
            os.kill(child.pid, number)

    for number in SIGNALS:
        signal.signal(number, pass_on)


def _heed_parent_only() -> None:
    """Let a process forked during a training end by these signals only if its parent sends them."""
    if _training:
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        threading.Thread(target=_wait_for_parent, args=(os.getppid(),), daemon=True).start()


def _wait_for_parent(parent: int) -> None:
    while signal.sigwaitinfo(SIGNALS).si_pid != parent:
        pass
    os._exit(0)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_heed_parent_only)
