"""Stop signals: between two batches where there are batches, at once everywhere else."""

import contextlib
import logging
import signal
from collections.abc import Iterator

STOP_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1") if hasattr(signal, name)]


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
        self._finishing = True
        try:
            yield
        finally:
            self._finishing = False

    def listen(self, log: logging.Logger) -> None:
        """Take over the stop signals of this process."""

        def handle(number: int, _frame: object) -> None:
            if self.asked or not self._finishing:
                raise KeyboardInterrupt
            self.asked = True
            log.warning("%s: finishing the batch and saving (again: stop at once)", signal.Signals(number).name)

        for number in STOP_SIGNALS:
            signal.signal(number, handle)
