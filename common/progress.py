"""How far a run is: a bar on a terminal, plain lines elsewhere, with pass rate and time left."""

import logging
import sys
import time
from collections import Counter
from collections.abc import Iterable
from typing import Protocol

SECONDS_BETWEEN_LINES = 10.0
SECONDS_TO_FIRST_LINE = 5.0


class Work(Protocol):
    """What is known of records that are computed together, before they are complete."""

    @property
    def text(self) -> str: ...

    def seconds_left(self, n_left: int, /) -> float | None: ...


class Progress:
    """Count labelled records and show them. `labels` are those of records saved earlier.

    `work` tells more of what is left than the number of records does; whoever does it calls `tick`.
    """

    def __init__(
        self, total: int, labels: Iterable[str], log: logging.Logger, unit: str = "programs", work: Work | None = None
    ):
        self.total, self.log, self.unit, self.work = total, log, unit, work
        self._labels = Counter(labels)
        self._done_before = self._labels.total()
        self._began = time.monotonic()
        self._next_line = self._began + (SECONDS_BETWEEN_LINES if work is None else SECONDS_TO_FIRST_LINE)
        self._bar = self._make_bar() if sys.stderr.isatty() else None

    @property
    def pass_rate_text(self) -> str:
        """'pass rate 54.1 %', of the programs that could be judged; empty when there is none."""
        judged = self._labels["correct"] + self._labels["incorrect"]
        return f"pass rate {100 * self._labels['correct'] / judged:.1f} %" if judged else ""

    def add(self, labels: Iterable[str]) -> None:
        labels = list(labels)
        self._labels.update(labels)
        if self._bar is not None:
            self._bar.update(len(labels))
        self.tick(last=self._labels.total() == self.total)

    def tick(self, last: bool = False) -> None:
        """Show how far the work is, if some seconds have gone by since that was shown."""
        now = time.monotonic()
        if not last and now < self._next_line:
            return
        self._next_line = now + SECONDS_BETWEEN_LINES
        if self._bar is not None:
            self._bar.set_postfix_str(", ".join(part for part in (self.pass_rate_text, self._work_text) if part))
        else:
            self.log.info("%s", self.line())

    @property
    def _work_text(self) -> str:
        return "" if self.work is None else self.work.text

    @property
    def seconds_left(self) -> float | None:
        """By what is known of the work, if anything is; else by the records that were computed so far."""
        done = self._labels.total()
        by_work = None if self.work is None else self.work.seconds_left(self.total - done)
        if by_work is not None:
            return by_work
        rate = (done - self._done_before) / max(time.monotonic() - self._began, 1e-9)
        return (self.total - done) / rate if rate else None

    def line(self) -> str:
        """'650 of 974 programs, pass rate 54.1 %, 98 tokens per second, 1 min 41 s left'."""
        done = self._labels.total()
        rate = (done - self._done_before) / max(time.monotonic() - self._began, 1e-9)
        left = self.seconds_left
        speed = self._work_text or f"{rate:.1f} per second"
        time_left = f"{'unknown time' if left is None else _duration(left)} left"
        parts = [f"{done} of {self.total} {self.unit}", self.pass_rate_text, speed, time_left]
        return ", ".join(part for part in parts if part)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *_details: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def _make_bar(self):
        from tqdm import tqdm

        return tqdm(total=self.total, initial=self._done_before, unit=f" {self.unit}", dynamic_ncols=True)


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
