"""Drift: do the detector's latents fire as often on today's texts as on those it was evaluated on?

    pipeline.drift.report()       # {"n": 212, "moved": False, "latents": [...]}

Each latent's firings are counted, and after 50 texts compared with its rate at discovery (validation split): Fisher's
exact test of two proportions, Holm's correction over the latents, moved where the adjusted p is below 0.01. Counts are
held in memory, and begin anew with the process.

A moved latent says that the texts are others, so that the card's figures need not hold for them; that the scores are
wrong it does not say. A long run finds ever smaller differences: read the rates beside the p.

Sources: Fisher 1935; Holm 1979.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from common.statistics import holm

if TYPE_CHECKING:
    from phase4_anomaly_detection.detector import AnomalyDetector, Detection

MIN_TEXTS = 50
ALPHA = 0.01


class DriftMonitor:
    """Counts on how many texts each latent of a detector fired. Threads may share one."""

    def __init__(self, detector: AnomalyDetector):
        self.latents = detector.latents
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Forget what was counted."""
        with self._lock:
            self.n_texts = 0
            self.n_fired = {latent["latent"]: 0 for latent in self.latents}

    def count(self, detections: Sequence[Detection]) -> None:
        """Count these texts; of a text read in windows, the window that decided."""
        with self._lock:
            self.n_texts += len(detections)
            for detection in detections:
                for entry in detection.top_features:
                    self.n_fired[entry["latent"]] += 1

    def report(self) -> dict[str, Any]:
        """{"n", "moved", "latents": [{"latent", "rate", "rate_at_discovery", "p", "moved"}]}, the smallest p first.

        `p` is adjusted; None before 50 texts, and for a latent whose rate at discovery is not known.
        """
        with self._lock:
            n, fired = self.n_texts, dict(self.n_fired)
        p_values = [self._p(latent, fired[latent["latent"]], n) for latent in self.latents]
        rows = [
            {
                "latent": latent["latent"], "rate": fired[latent["latent"]] / n if n else None,
                "rate_at_discovery": latent["n_fired"] / latent["n"] if latent.get("n") else None,
                "p": p, "moved": p is not None and p < ALPHA,
            }
            for latent, p in zip(self.latents, holm(p_values), strict=True)
        ]  # fmt: skip
        rows.sort(key=lambda row: 2.0 if row["p"] is None else row["p"])
        return {"n": n, "moved": any(row["moved"] for row in rows), "latents": rows}

    def _p(self, latent: dict[str, Any], fired: int, n: int) -> float | None:
        if n < MIN_TEXTS or not latent.get("n"):
            return None
        from scipy.stats import fisher_exact

        then = [latent["n_fired"], latent["n"] - latent["n_fired"]]
        return float(fisher_exact([then, [fired, n - fired]]).pvalue)
