"""Whether a score, read as a probability on one split, keeps its word on another.

Isotonic regression (never falling, otherwise of any shape) turns the score into a probability on `hyperparams`; on
`validation` the problems are grouped by that probability, and the share of positives in each group is counted.

Sources: Zadrozny & Elkan 2002 (isotonic calibration); Brier 1950.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.isotonic import IsotonicRegression

from common.evaluation.statistics import rate
from common.evaluation.strata import stratum_of, upper_bounds
from common.handoffs.detection import Reliability, ReliabilityGroup

N_GROUPS = 5


def reliability(
    tuned: Float[np.ndarray, " m"],
    tuned_positive: Bool[np.ndarray, " m"],
    values: Float[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"],
) -> Reliability:
    """Brier score, and what was predicted and observed by group, the latter with Wilson's interval.

    `tuned` are the scores that the probability is fitted on. Scores outside their range get the nearest one's. There
    are at most five groups, of about equal size, with equal probabilities together.
    """
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(tuned, tuned_positive.astype(float))
    probability = fitted.predict(values)
    group = stratum_of(probability, upper_bounds(probability, N_GROUPS))
    groups = reliability_groups(probability, positive, group)
    return Reliability(brier=float(np.mean((probability - positive) ** 2)), groups=groups)


def reliability_groups(
    probability: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"], group: Int[np.ndarray, " n"]
) -> list[ReliabilityGroup]:
    """What was predicted and observed in each group, the latter with Wilson's interval."""
    groups = []
    for inside in (group == number for number in np.unique(group)):
        n = int(inside.sum())
        observed = rate(int(positive[inside].sum()), n)
        groups.append(ReliabilityGroup(predicted=float(probability[inside].mean()), observed=observed, n=n))
    return groups
