"""How far a run is: a bar on a terminal, plain lines elsewhere, with pass rate and time left."""

import logging
import sys
import time
from collections import Counter
from collections.abc import Iterable

SECONDS_BETWEEN_LINES = 10.0


class Progress:
    """Count labelled records and show them. `labels` are those of records saved earlier."""

    def __init__(self, total: int, labels: Iterable[str], log: logging.Logger, unit: str = "programs"):
        self.total, self.log, self.unit = total, log, unit
        self._labels = Counter(labels)
        self._done_before = self._labels.total()
        self._began = self._last_line = time.monotonic()
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
            self._bar.set_postfix_str(self.pass_rate_text)
            self._bar.update(len(labels))
        elif time.monotonic() - self._last_line >= SECONDS_BETWEEN_LINES or self._labels.total() == self.total:
            self._last_line = time.monotonic()
            self.log.info("%s", self.line())

    def line(self) -> str:
        """'650 of 974 programs, pass rate 54.1 %, 3.2 per second, 1 min 41 s left'."""
        done = self._labels.total()
        rate = (done - self._done_before) / max(time.monotonic() - self._began, 1e-9)
        left = _duration((self.total - done) / rate) if rate else "unknown time"
        parts = [f"{done} of {self.total} {self.unit}", self.pass_rate_text, f"{rate:.1f} per second", f"{left} left"]
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
