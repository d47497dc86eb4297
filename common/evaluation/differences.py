"""Metrics with their resamples, so that two scores are compared on the same resamples of the same problems.

A paired interval of a difference is narrower than two intervals side by side suggest, since both scores read the same
problems: what is easy for one is mostly easy for the other.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from common.evaluation import metrics
from common.evaluation.bootstrap import interval
from common.handoffs.estimates import Interval


@dataclass(frozen=True)
class Resampled:
    """A metric on the problems as they are, and on every resample of them."""

    value: float
    resampled: Float[np.ndarray, " r"]

    @property
    def interval(self) -> Interval:
        return interval(self.value, self.resampled)

    def minus(self, other: Resampled) -> Interval:
        """The difference with its paired interval: both must be of the same draws."""
        return interval(self.value - other.value, self.resampled - other.resampled)


def auroc(
    values: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"], draws: Float[np.ndarray, "r n"]
) -> Resampled:
    """AUROC of a score that is larger for positives; `draws` as bootstrap.draws_by_label gives them."""
    once, drawn = _weights(positive, draws)
    return Resampled(float(metrics.auroc(values, *once)), metrics.auroc(values, *drawn))


def at_threshold(
    predicted: Bool[np.ndarray, " n"], positive: Bool[np.ndarray, " n"], draws: Float[np.ndarray, "r n"]
) -> dict[str, Resampled]:
    """Every metric of metrics.AT_THRESHOLD of yes-or-no predictions."""
    once, drawn = _weights(positive, draws)
    found, resampled = metrics.at_threshold(predicted, *once), metrics.at_threshold(predicted, *drawn)
    return {name: Resampled(float(found[name]), resampled[name]) for name in metrics.AT_THRESHOLD}


def _weights(positive: np.ndarray, draws: np.ndarray) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    return (positive.astype(float), (~positive).astype(float)), (draws * positive, draws * ~positive)
