"""Difficulty strata, and what a score is worth inside them.

Much of what predicts correctness may be nothing but the difficulty or length of the problem. So pairs of a failed and
a solved problem are also compared only where both lie in one stratum.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int

from common.evaluation import metrics
from common.evaluation.bootstrap import draws_of_problems, interval, number
from common.evaluation.label_counts import MIN_IN_A_STRATUM
from common.handoffs.detection import AtTemperature, OfStratum
from common.handoffs.estimates import UNDEFINED, Interval

N_STRATA = 4


def upper_bounds(values: Float[np.ndarray, " n"], n_strata: int = N_STRATA) -> Float[np.ndarray, " k"]:
    """The largest value of each stratum, ascending: quantile bins of about equal size, equal values kept together.

    A distinct value lies in the bin of its middle rank; bins that get no value are left out.
    """
    distinct, counts = np.unique(values, return_counts=True)
    middle_rank = (np.cumsum(counts) - counts / 2) / len(values)
    bins = np.floor(middle_rank * n_strata)
    return distinct[np.append(bins[1:] != bins[:-1], True)]


def stratum_of(values: Float[np.ndarray, " n"], bounds: Float[np.ndarray, " k"]) -> Int[np.ndarray, " n"]:
    """Each value's stratum, from 0; what exceeds the last bound lies in the last stratum."""
    return np.searchsorted(bounds[:-1], values, side="left")


def complexity_names(bounds: Int[np.ndarray, " k"]) -> list[str]:
    """'complexity 1', 'complexity 2 to 3', 'complexity 4 or more'."""
    names, low = [], 1
    for bound in bounds[:-1].tolist():
        names.append(f"complexity {low}" if low == bound else f"complexity {low} to {bound}")
        low = bound + 1
    return [*names, f"complexity {low} or more"]


def auroc_within(
    values: Float[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"],
    stratum: Int[np.ndarray, " n"],
    draws: Float[np.ndarray, "r n"],
) -> Interval:
    """AUROC over all pairs whose two problems lie in one stratum: sum of pairs won / sum of pairs."""
    won, pairs = np.zeros(1 + len(draws)), np.zeros(1 + len(draws))
    weights = np.vstack([np.ones(len(values)), draws])
    for number_of_stratum in np.unique(stratum):
        inside = stratum == number_of_stratum
        is_positive = positive[inside]
        if (
            is_positive.all() or not is_positive.any()
        ):  # no pairs: the rule where a quantity has nearly as many values as problems
            continue
        part = weights[:, inside]
        counts = metrics.pairs_won(values[inside], part * is_positive, part * ~is_positive)
        won, pairs = won + counts[0], pairs + counts[1]
    area = np.where(pairs == 0, np.nan, won / np.where(pairs == 0, 1, pairs))
    return interval(area[0], area[1:])


def by_stratum(
    values: Float[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"],
    threshold: float | None,
    stratum: Int[np.ndarray, " n"],
    names: list[str],
    draws: Float[np.ndarray, "r n"],
) -> list[OfStratum]:
    """AUROC and F1 in each stratum; undefined where it has fewer than 5 positives or negatives."""
    strata = []
    for number_of_stratum, name in enumerate(names):
        inside = stratum == number_of_stratum
        part, is_positive = draws[:, inside], positive[inside].astype(float)
        both = _auroc_and_f1(
            values[inside], threshold, is_positive, 1 - is_positive, part * is_positive, part * (1 - is_positive)
        )
        strata.append(OfStratum(stratum=name, n=int(inside.sum()), n_positive=int(is_positive.sum()), **both))
    return strata


def at_temperature(
    temperature: float,
    values: Float[np.ndarray, " n"],
    n_positive: Float[np.ndarray, " n"],
    n_negative: Float[np.ndarray, " n"],
    threshold: float | None,
    n_resamples: int,
    seed: int,
) -> AtTemperature:
    """AUROC and F1 over the programs sampled at one temperature, of which each problem has positives and negatives.

    A problem's programs share its score and are not independent: problems are resampled, with all their programs.
    """
    draws = draws_of_problems(len(values), n_resamples, seed)
    both = _auroc_and_f1(values, threshold, n_positive, n_negative, draws * n_positive, draws * n_negative)
    n_programs = int(n_positive.sum() + n_negative.sum())
    base_rate = number(n_positive.sum() / n_programs)
    return AtTemperature(
        temperature=temperature, n_problems=len(values), n_programs=n_programs, base_rate=base_rate, **both
    )


def _auroc_and_f1(
    values: np.ndarray,
    threshold: float | None,
    positive: np.ndarray,
    negative: np.ndarray,
    drawn_positive: np.ndarray,
    drawn_negative: np.ndarray,
) -> dict[str, Interval]:
    if min(positive.sum(), negative.sum()) < MIN_IN_A_STRATUM:
        return {"auroc": UNDEFINED, "f1": UNDEFINED}
    predicted = metrics.predicted_positive(values, threshold)
    f1, drawn_f1 = (
        metrics.at_threshold(predicted, *weights)["f1"]
        for weights in ((positive, negative), (drawn_positive, drawn_negative))
    )
    area = metrics.auroc(values, positive, negative)
    return {
        "auroc": interval(area, metrics.auroc(values, drawn_positive, drawn_negative)),
        "f1": interval(f1, drawn_f1),
    }
