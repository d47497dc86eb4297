"""L2-penalised logistic regression by Newton's method, for a rising series of strengths.

Minimises |w|^2 / 2 + C * (sum of the log losses), the intercept unpenalised: scikit-learn's objective and its C. Each
fit begins at the one before, so that a whole series of a few columns takes about a millisecond, where general
solvers spend more on their checks. With more columns than rows the solution lies in the span of the rows, and is
found there.

Source: Hastie, Tibshirani & Friedman 2009, The Elements of Statistical Learning, sections 4.4.1 and 18.3.5.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import expit

_NEARLY = 1e-12  # of the loss: one more full step from here is exact to rounding
_SHORTEST = 1e-10  # of a step: a shorter one changes nothing but rounding


def logistic_series(
    x: Float[np.ndarray, "n d"], positive: Bool[np.ndarray, " n"], strengths: Sequence[float]
) -> tuple[Float[np.ndarray, "s d"], Float[np.ndarray, " s"]]:
    """Weights and intercept of each C in `strengths`, which are best given ascending. Both labels must occur."""
    rows, basis = x, None
    if x.shape[1] > x.shape[0]:
        basis, triangle = np.linalg.qr(x.T)
        rows = triangle.T
    design, target = np.column_stack([np.ones(len(rows)), rows]), positive.astype(np.float64)
    fits, coefficients = [], np.zeros(design.shape[1])
    for strength in strengths:
        coefficients = _minimum(design, target, 1 / strength, coefficients)
        fits.append(coefficients)
    series = np.array(fits)
    weights = series[:, 1:] if basis is None else series[:, 1:] @ basis.T
    return weights, series[:, 0]


def _minimum(design: np.ndarray, target: np.ndarray, penalty: float, start: np.ndarray) -> np.ndarray:
    """The coefficients, intercept first; the loss is strictly convex, so that halved Newton steps always arrive."""
    ridge = np.full(len(start), penalty)
    ridge[0] = 0

    def loss(coefficients: np.ndarray, odds: np.ndarray) -> float:
        return float(np.logaddexp(0, odds).sum() - target @ odds + ridge @ coefficients**2 / 2)

    here, odds = start, design @ start
    value = loss(here, odds)
    while True:
        probability = expit(odds)
        gradient = design.T @ (probability - target) + ridge * here
        curvature = (design * (probability * (1 - probability))[:, None]).T @ design
        curvature.flat[:: len(start) + 1] += ridge
        step = np.linalg.solve(curvature, gradient)
        gain, size = float(gradient @ step), 1.0
        if gain <= _NEARLY * (1 + value):
            return here - step
        there = here - step
        odds = design @ there
        while (lower := loss(there, odds)) > value - 1e-4 * size * gain:
            size /= 2
            if size < _SHORTEST:
                return here
            there = here - size * step
            odds = design @ there
        here, value = there, lower
