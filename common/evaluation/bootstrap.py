"""Bootstrap resamples as multiplicities, and the 95 % intervals that follow from them.

A resample of n problems is how often each was drawn: [n_resamples, n]. One set of draws serves every score, so that
scores are compared on the same resamples.

Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile intervals).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from common.handoffs.estimates import Interval

CONFIDENCE = 0.95
DRAWS = (
    "numpy.random.default_rng(seed).multinomial over the incorrect problems of validation, then over the correct ones, "
    "each in the order of labels.parquet; by temperature: over all problems with a program at that temperature, from "
    "a new generator of the same seed; the interval is the 2.5 % and 97.5 % quantiles (linear), without resamples in "
    "which the metric is 0 / 0"
)


def draws_by_label(incorrect: Bool[np.ndarray, " n"], n_resamples: int, seed: int) -> Float[np.ndarray, "r n"]:
    """How often each problem is drawn: incorrect ones among themselves, and correct ones likewise."""
    generator = np.random.default_rng(seed)
    draws = np.zeros((n_resamples, len(incorrect)))
    for label in (incorrect, ~incorrect):
        if label.any():
            draws[:, label] = _multinomial(generator, int(label.sum()), n_resamples)
    return draws


def draws_of_problems(n: int, n_resamples: int, seed: int) -> Float[np.ndarray, "r n"]:
    """How often each problem is drawn, with all its programs, whatever their labels."""
    return _multinomial(np.random.default_rng(seed), n, n_resamples)


def interval(value: float | np.ndarray, resampled: Float[np.ndarray, " r"]) -> Interval:
    """A percentile interval; None for what is undefined."""
    defined = resampled[np.isfinite(resampled)]
    low, high = np.quantile(defined, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2]) if len(defined) else (np.nan,) * 2
    return Interval(number(value), number(low), number(high))


def number(value: float | np.ndarray) -> float | None:
    """A plain number; None for NaN and infinity, which JSON has not."""
    return float(value) if np.isfinite(value) else None


def _multinomial(generator: np.random.Generator, n: int, n_resamples: int) -> np.ndarray:
    return generator.multinomial(n, np.full(n, 1 / n), size=n_resamples).astype(float)
