"""What the general-text filter costs: the best latent that each limit leaves, chosen and read on different problems.

1. For each limit and each of 5 folds of the problems: the latent with the largest |t| on the other four, over all
   layers, among those that fire on no larger share of general text. It may speak for either label.
2. Its activation, turned by the sign of that t, scores the problems of the fold; pairs inside a fold are compared.

A layer is let go before the next one comes: kept are a score for each problem and limit, and the largest |t| so far.
"""

import numpy as np
from jaxtyping import Bool, Float

from common.evaluation.sparse_probing import auroc_over_folds, fold_of, t_without_fold
from common.handoffs.selected import AtLimit
from phase2_sae_analysis.selection import ranked_latent

LIMITS = (1.0, 0.2, 0.1, 0.05, 0.02, 0.01)
SETTLED = None  # what stands for the limits that the phase itself used


class LimitSweep:
    """The best latents of the layers seen so far, under each limit and under the settled ones."""

    def __init__(self, incorrect: Bool[np.ndarray, " n"], seed: int):
        self.incorrect, self.fold = incorrect, fold_of(incorrect, seed)
        self.asked = (*LIMITS, SETTLED)
        self._abs_t = np.zeros((len(self.asked), self.fold.max() + 1))
        self._scores = np.zeros((len(self.asked), len(incorrect)))

    def add(
        self, latent_acts: Float[np.ndarray, "n d_sae"], rates: Float[np.ndarray, " d_sae"], settled: float
    ) -> None:
        """Take the latents of one layer, whose limit was settled to be `settled`."""
        t = t_without_fold(latent_acts, self.incorrect, self.fold)
        for row, limit in enumerate(self.asked):
            abs_t = np.where(rates <= (settled if limit is SETTLED else limit), np.abs(t), 0.0)
            for place, latent in enumerate(abs_t.argmax(axis=1)):
                if abs_t[place, latent] > self._abs_t[row, place]:
                    in_fold = self.fold == place
                    self._abs_t[row, place] = abs_t[place, latent]
                    self._scores[row, in_fold] = np.sign(t[place, latent]) * latent_acts[in_fold, latent]

    def table(self, columns: dict[str, np.ndarray]) -> list[AtLimit]:
        """A row for each limit; `columns` has every latent of all layers."""
        rows = []
        for limit, scores in zip(self.asked, self._scores, strict=True):
            kept = columns["kept"] if limit is SETTLED else columns["general_text_rate"] <= limit
            abs_t = np.where(kept, np.abs(columns["t"]), 0.0)
            top = int(abs_t.argmax())
            best = ranked_latent(columns, top) if abs_t[top] > 0 else None
            area = auroc_over_folds(scores, self.incorrect, self.fold)
            rows.append(AtLimit(limit=limit, kept=int(kept.sum()), best=best, auroc=area))
        return rows
