"""Stop signals: what is begun is finished where there are batches; elsewhere all ends at once."""

import contextlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any

_NAMES = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2")  # the last two warn of a cluster's time limit
STOP_SIGNALS = [getattr(signal, name) for name in _NAMES if hasattr(signal, name)]


class Stopped(Exception):
    """The user or the cluster asked the run to stop; everything computed is saved."""


class StopRequest:
    """Whether a stop was asked for. Raise `Stopped` where `asked` is seen and the work is saved."""

    def __init__(self) -> None:
        self.asked = False
        self._finishing = False

    @contextlib.contextmanager
    def finishing_batches(self) -> Iterator[None]:
        """While this is open, the first signal only sets `asked`; whoever works must look at it soon."""
        before, self._finishing = self._finishing, True
        try:
            yield
        finally:
            self._finishing = before

    def listen(self, log: logging.Logger) -> None:
        """Take over the stop signals of this process."""

        def handle(number: int, _frame: object) -> None:
            if self.asked or not self._finishing:
                raise KeyboardInterrupt
            self.asked = True
            log.warning("%s: finishing what is begun, and saving (again: stop at once)", signal.Signals(number).name)

        for number in STOP_SIGNALS:
            signal.signal(number, handle)


def lose_no_interrupt() -> None:
    """A signal that comes while a destructor runs raises there, where Python drops it: deliver it once more."""

    def ask_again(unraisable: Any) -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            return sys.__unraisablehook__(unraisable)
        again = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        again.daemon = True  # nobody waits for it at the end
        again.start()

    sys.unraisablehook = ask_again


def ignore_further_signals() -> None:
    """From here to the end, which is near, impatience can only do harm."""
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
