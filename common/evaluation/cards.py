"""The evaluation card of one score."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float

from common.evaluation import differences, metrics
from common.evaluation.bootstrap import number
from common.evaluation.delong import delong_interval
from common.evaluation.differences import Resampled
from common.handoffs.detection import Card
from common.handoffs.estimates import AurocInterval


def evaluation_card(
    values: Float[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"],
    threshold: float | None,
    draws: Float[np.ndarray, "r n"],
    ranked: Mapping[str, Resampled] | None = None,
) -> Card:
    """All metrics of `value > threshold` on problems of which `positive` have the label that is looked for.

    `draws` says how often each problem is in each resample (bootstrap.py). A threshold of None predicts nothing.
    `ranked` is what differences.ranked says of it on the same resamples, where that was found before.
    """
    ranked = ranked or differences.ranked(values, positive, draws)
    by_metric = differences.at_threshold(metrics.predicted_positive(values, threshold), positive, draws)
    (low, high), auroc = delong_interval(values, positive), ranked["auroc"].interval
    return Card(
        threshold=threshold,
        n=len(values),
        n_positive=int(positive.sum()),
        base_rate=number(positive.mean()),
        **{name: metric.interval for name, metric in by_metric.items()},
        auroc=AurocInterval(auroc.value, auroc.low, auroc.high, number(low), number(high)),
        average_precision=ranked["average_precision"].interval,
    )


def always_positive_f1(n_positive: int, n: int) -> float:
    """F1 of calling every program positive: 2 p / (1 + p) at the base rate p."""
    return 2 * n_positive / (n + n_positive)
