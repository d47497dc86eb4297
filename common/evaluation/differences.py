"""Metrics with their resamples, so that two scores are compared on the same resamples of the same problems.

A paired interval of a difference is narrower than two intervals side by side suggest, since both scores read the same
problems: what is easy for one is mostly easy for the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from common.evaluation import metrics
from common.evaluation.bootstrap import interval
from common.handoffs.estimates import Interval

_CELLS_AT_ONCE = 2**16  # of [resamples, problems]: what is computed of larger arrays leaves the cache


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
    return _resampled(lambda *weights: {"auroc": metrics.auroc(values, *weights)}, positive, draws)["auroc"]


def ranked(
    values: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"], draws: Float[np.ndarray, "r n"]
) -> dict[str, Resampled]:
    """The same with average precision: both metrics of metrics.RANKED."""
    return _resampled(lambda *weights: metrics.ranked(values, *weights), positive, draws)


def at_threshold(
    predicted: Bool[np.ndarray, " n"], positive: Bool[np.ndarray, " n"], draws: Float[np.ndarray, "r n"]
) -> dict[str, Resampled]:
    """Every metric of metrics.AT_THRESHOLD of yes-or-no predictions."""
    return _resampled(lambda *weights: metrics.at_threshold(predicted, *weights), positive, draws)


def _resampled(
    metric: Callable[[np.ndarray, np.ndarray], dict[str, np.ndarray]], positive: np.ndarray, draws: np.ndarray
) -> dict[str, Resampled]:
    """`metric` gives its values from how often each problem counts as a positive, and as a negative."""
    on_data, rows = metric(positive.astype(float), (~positive).astype(float)), max(1, _CELLS_AT_ONCE // len(positive))
    parts = [draws[start : start + rows] for start in range(0, len(draws), rows)]
    drawn = [metric(part * positive, part * ~positive) for part in parts]
    return {
        name: Resampled(float(value), np.concatenate([part[name] for part in drawn])) for name, value in on_data.items()
    }
