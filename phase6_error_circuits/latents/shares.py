"""Shares of the whole effect as ratios of means, with intervals by a bootstrap over pairs; rank correlations.

A ratio of each pair would say nothing: where a pair's own effect is small it may be anything.
"""

import math
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from common.evaluation.bootstrap import draws_of_problems, interval
from common.handoffs.estimates import Interval

FEWEST = 3  # values between which a correlation means anything


class Bootstrap:
    """Resamples of `n` pairs: the same for every share, so that shares are compared on the same pairs."""

    def __init__(self, n: int, n_resamples: int, seed: int) -> None:
        self._draws = draws_of_problems(n, n_resamples, seed)

    def mean(self, values: Tensor) -> Interval:
        """The mean over pairs."""
        known = values.detach().double().cpu().numpy()
        return interval(known.mean(), self._draws @ known / len(known))

    def ratio(self, part: Tensor, whole: Tensor) -> Interval:
        """The mean of `part` over the mean of `whole`, of [pair] each."""
        above, below = (values.detach().double().cpu().numpy() for values in (part, whole))
        with np.errstate(divide="ignore", invalid="ignore"):
            return interval(np.divide(above.mean(), below.mean()), (self._draws @ above) / (self._draws @ below))


def share(part: float, whole: float) -> float | None:
    """part / whole; None where the whole is nothing."""
    ratio = part / whole if whole else math.nan
    return ratio if math.isfinite(ratio) else None


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's; None where one of the two is constant, or there are too few values."""
    from scipy.stats import rankdata  # a second of imports, for nothing else here: phase 6.5 needs none of it

    return linear_correlation(rankdata(one).tolist(), rankdata(other).tolist())


def linear_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Pearson's, likewise."""
    if len(one) < FEWEST or min(np.std(one), np.std(other)) == 0:
        return None
    return float(np.corrcoef(one, other)[0, 1])
