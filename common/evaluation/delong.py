"""AUROC with DeLong's interval, which needs no resamples.

Sources: DeLong, DeLong & Clarke-Pearson 1988, Biometrics 44; computed from mid-ranks as in Sun & Xu 2014, IEEE
Signal Processing Letters 21.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy.stats import rankdata

from common.evaluation.statistics import Z


def delong_variance(values: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> tuple[float, float]:
    """AUROC of `values` for `positive`, and the variance of that estimate; NaN with fewer than two of a label.

    With psi(x, y) = 1 where x > y, 1/2 where x = y, else 0, each positive i of m has the component
    V10_i = mean over negatives of psi(x_i, y_j), each negative j of n has V01_j = mean over positives of
    psi(x_i, y_j), and the variance is var(V10) / m + var(V01) / n, both unbiased.
    """
    x, y = values[positive], values[~positive]
    m, n = len(x), len(y)
    if min(m, n) < 2:
        return np.nan, np.nan
    among_all = rankdata(np.concatenate([x, y]))
    v10 = (among_all[:m] - rankdata(x)) / n
    v01 = 1 - (among_all[m:] - rankdata(y)) / m
    return float(v10.mean()), float(v10.var(ddof=1) / m + v01.var(ddof=1) / n)


def delong_interval(values: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"]) -> tuple[float, float]:
    """95 % interval of the AUROC by the normal approximation, cut to [0, 1]."""
    area, variance = delong_variance(values, positive)
    half = Z * np.sqrt(variance)
    return float(np.clip(area - half, 0, 1)), float(np.clip(area + half, 0, 1))
