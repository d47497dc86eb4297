"""Drift: do the detector's latents fire as often on today's texts as on those it was evaluated on?

    pipeline.drift.report()       # {"n": 212, "moved": False, "latents": [...]}

Of the last 1,000 texts each latent's firings are counted, and from 50 texts on compared with its rate at discovery
(validation split): Fisher's exact test of two proportions, Holm's correction over the latents, moved where the adjusted
p is below 0.01. The window is held in memory, and begins anew with the process. A text that is in it already is not
counted again: who asks the same thing often has not changed the population.

The 0.01 holds for one look at one window. Who looks again and again at windows that slide on will sooner or later see
one that moved by chance: take it for drift when it stays. A moved latent says that the texts are others, so that the
card's figures need not hold for them; that the scores are wrong it does not say.

Below 1e-6, which no number of looks explains, the texts are of another population, and no text is scored until the
window fits again (`strayed`, which looks every 50 texts).

Sources: Fisher 1935; Holm 1979.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from itertools import repeat
from typing import TYPE_CHECKING, Any

from common.evaluation.statistics import holm, p_of

if TYPE_CHECKING:
    from phase4_anomaly_detection.detector import AnomalyDetector, Detection

WINDOW = 1_000  # texts
MIN_TEXTS = 50
MOVED_AT = 0.01
STRAYED = 1e-6


class DriftMonitor:
    """Counts on how many of the last texts each latent of a detector fired. Threads may share one."""

    def __init__(self, detector: AnomalyDetector):
        self.latents = detector.latents
        self._lock, self._computing = threading.Lock(), threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forget what was counted."""
        with self._computing, self._lock:
            self.n_seen = self.n_other = 0
            self.n_fired = {latent["latent"]: 0 for latent in self.latents}
            self._window: deque[tuple[int | None, frozenset[int]]] = deque()  # hashes of the last texts, what fired
            self._hashes: set[int | None] = set()
            self._looked_at, self._strayed = 0, None  # texts seen at the last look, and what it said
            self._last: tuple[int, float, dict[str, Any]] | None = None  # texts seen, moment, report

    def prepare(self) -> None:
        """Import now what the test needs: it takes seconds."""
        import scipy.stats  # noqa: F401

    def count(self, detections: Sequence[Detection], texts: Sequence[str] | None = None) -> None:
        """Count these texts; of a text read in windows, the window that decided. Without `texts` all are others."""
        with self._lock:
            for detection, text in zip(detections, repeat(None) if texts is None else texts, strict=False):
                known = None if text is None else hash(text)
                if known is not None and known in self._hashes:
                    continue
                self.n_seen += 1
                self._add(known, frozenset(entry["latent"] for entry in detection.top_features))

    def _add(self, known: int | None, fired: frozenset[int]) -> None:
        self._window.append((known, fired))
        self._hashes.add(known)
        for latent in fired:
            self.n_fired[latent] += 1
        if len(self._window) > WINDOW:
            oldest, fired_then = self._window.popleft()
            self._hashes.discard(oldest)
            for latent in fired_then:
                self.n_fired[latent] -= 1

    def count_others(self, n: int) -> None:
        """Count texts whose form is that of another population: they were not read."""
        with self._lock:
            self.n_other += n

    def strayed(self) -> str | None:
        """Why the last texts are of another population than the validation split; None where they may be of it."""
        if self.n_seen - self._looked_at >= MIN_TEXTS:
            self._looked_at, report = self.n_seen, self.report()
            far = [row for row in report["latents"] if row["p"] is not None and row["p"] < STRAYED]
            self._strayed = _stray(far[0], report["n"]) if far else None
        return self._strayed

    def report(self, max_age_s: float = 0.0) -> dict[str, Any]:
        """{"n", "n_other", "moved", "latents": [{"latent", "rate", "rate_at_discovery", "p", "moved"}]}.

        `n` texts are compared, `n_other` were refused by their form. Latents with the smallest p come first: it is
        adjusted; None before 50 texts, and for a latent whose rate at discovery is not known. An earlier report is
        given again while nothing was counted, or for `max_age_s` seconds.
        """
        with self._computing:
            with self._lock:
                seen, n, fired, last = self.n_seen + self.n_other, len(self._window), dict(self.n_fired), self._last
                n_other = self.n_other
            now = time.monotonic()
            if last is not None and (last[0] == seen or now - last[1] < max_age_s):
                return last[2]
            report = {"n": n, "n_other": n_other, **self._compared(n, fired)}
            self._last = seen, now, report
            return report

    def _compared(self, n: int, fired: dict[int, int]) -> dict[str, Any]:
        p_values = [self._p(latent, fired[latent["latent"]], n) for latent in self.latents]
        rows = []
        for latent, p in zip(self.latents, holm(p_values), strict=True):
            rate = fired[latent["latent"]] / n if n else None
            before = latent["n_fired"] / latent["n"] if latent.get("n") else None
            row = {"latent": latent["latent"], "rate": rate, "rate_at_discovery": before}
            rows.append({**row, "p": p, "moved": p is not None and p < MOVED_AT})
        rows.sort(key=lambda row: 2.0 if row["p"] is None else row["p"])
        return {"moved": any(row["moved"] for row in rows), "latents": rows}

    def _p(self, latent: dict[str, Any], fired: int, n: int) -> float | None:
        if n < MIN_TEXTS or not latent.get("n"):
            return None
        from scipy.stats import fisher_exact

        then = [latent["n_fired"], latent["n"] - latent["n_fired"]]
        return p_of(fisher_exact([then, [fired, n - fired]]))


def _stray(row: dict[str, Any], n: int) -> str:
    return (
        f"drift: latent {row['latent']} fires on {100 * row['rate']:.0f} % of the last {n} texts, and on "
        f"{100 * row['rate_at_discovery']:.0f} % of those that the detector was evaluated on"
    )
