"""Intervals for what the pipeline counts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from common.handoffs.estimates import UNDEFINED, Counted, Interval

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Shaped

ALPHA = 0.05  # two-sided, of every test and interval; Z and MIN_CONTROLS (handoffs/steering.py) follow from it
Z = 1.959963984540054  # the normal distribution's quantile 1 - ALPHA / 2


def p_of(result: Any) -> float:
    """The p-value of a test by scipy or statsmodels, whose annotations do not say what they return."""
    return float(result.pvalue)


def wilson_interval(n_successes: int, n_trials: int) -> tuple[float, float]:
    """Wilson's score interval of a proportion, 95 %, in [0, 1]: scipy's, without the test that scipy makes first.

    Source: Wilson 1927, J. Am. Stat. Assoc. 22.
    """
    p, denominator = n_successes / n_trials, 2 * (n_trials + Z**2)
    centre = (2 * n_trials * p + Z**2) / denominator
    half = Z / denominator * math.sqrt(4 * n_trials * p * (1 - p) + Z**2)
    return centre - half if n_successes else 0.0, centre + half if n_successes < n_trials else 1.0


def rate(n: int, of: int) -> Interval:
    """A share with Wilson's 95 % interval; undefined where there is nothing to have a share of."""
    if not of:
        return UNDEFINED
    low, high = wilson_interval(n, of)
    return Interval(n / of, low, high)


def counted(n: int, of: int) -> Counted:
    """A share with what was counted."""
    return Counted(n, of, rate(n, of))


def clustered_rate_interval(
    n_successes: Sequence[int], n_trials: Sequence[int], *, n_resamples: int = 10_000, seed: int = 42
) -> tuple[float, float]:
    """Interval of sum(n_successes) / sum(n_trials), in [0, 1], where trials of one cluster are not independent.

    A percentile bootstrap over clusters: whole clusters are drawn with replacement, with all their
    trials. Where every trial succeeds, or none, resamples do not differ: then Wilson's interval,
    with one trial for each cluster.

    Source: Davison & Hinkley 1997, Bootstrap Methods and their Application, section 3.8.
    """
    import numpy as np

    successes, trials = np.asarray(n_successes, dtype=np.int64), np.asarray(n_trials, dtype=np.int64)
    n, total, confidence = len(trials), int(successes.sum()), 0.95
    assert n and (trials > 0).all(), "a cluster without a trial says nothing"
    if total in (0, int(trials.sum())):
        return wilson_interval(n if total else 0, n)
    generator = np.random.default_rng(seed)
    rates = []
    for _ in range(0, n_resamples, 1000):
        times_drawn = generator.multinomial(n, np.full(n, 1 / n), size=min(1000, n_resamples - len(rates)))
        rates.extend(times_drawn @ successes / (times_drawn @ trials))
    low, high = np.quantile(rates, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def two_way_rate_interval(
    hits: Shaped[np.ndarray, "k n"], trials: Shaped[np.ndarray, "k n"], *, n_resamples: int = 2000, seed: int = 42
) -> tuple[float, float]:
    """Interval of hits.sum() / trials.sum(), in [0, 1], where k treatments were tried on the same n problems.

    Trials of one problem are not independent, nor are those of one treatment: both are drawn with replacement, apart
    from each other, and what is counted is their crossing. The 2.5 % and 97.5 % quantiles of 2,000 such resamples.
    Where every trial succeeds, or none, resamples do not differ: then Wilson's interval, with one trial a problem.

    Source: Owen 2007, Ann. Appl. Stat. 1(2), 386-411 (the pigeonhole bootstrap).
    """
    import numpy as np

    tried = trials.any(axis=0)
    hits, trials = hits[:, tried].astype(float), trials[:, tried].astype(float)
    assert trials.size, "without a trial there is no rate"
    k, n = trials.shape
    if hits.sum() in (0, trials.sum()):
        return wilson_interval(n if hits.any() else 0, n)
    generator = np.random.default_rng(seed)
    treatments = generator.multinomial(k, np.full(k, 1 / k), size=n_resamples)
    problems = generator.multinomial(n, np.full(n, 1 / n), size=n_resamples)
    with np.errstate(invalid="ignore"):
        rates = ((treatments @ hits) * problems).sum(axis=1) / ((treatments @ trials) * problems).sum(axis=1)
    low, high = np.nanquantile(rates, [0.025, 0.975])
    return float(low), float(high)


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Adjusted p-values, in the order given: the k-th smallest of n times n - k + 1, never below the one before.

    A test that could not be done counts in the family, as 1, and stays None.
    Source: Holm 1979, Scand. J. Stat. 6, 65-70.
    """
    known = [1.0 if p is None else p for p in p_values]
    adjusted, largest = [1.0] * len(known), 0.0
    for rank, place in enumerate(sorted(range(len(known)), key=known.__getitem__)):
        largest = max(largest, min(1.0, (len(known) - rank) * known[place]))
        adjusted[place] = largest
    return [None if p is None else q for p, q in zip(p_values, adjusted, strict=True)]


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given: among tests with q at most 0.05, about 5 % are false discoveries.

    The k-th smallest of n times n / k, never above the one after it.
    Source: Benjamini & Hochberg 1995, J. R. Stat. Soc. B 57, 289-300.
    """
    adjusted, smallest, n = [1.0] * len(p_values), 1.0, len(p_values)
    ascending = sorted(range(n), key=p_values.__getitem__)
    for rank in range(n, 0, -1):
        place = ascending[rank - 1]
        smallest = min(smallest, p_values[place] * n / rank)
        adjusted[place] = smallest
    return adjusted
