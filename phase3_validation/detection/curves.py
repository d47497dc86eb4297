"""ROC and precision-recall curves, and F1 by threshold, with bands from the same resamples as the intervals."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

from common.evaluation import metrics
from common.evaluation.bootstrap import CONFIDENCE

GRID = np.linspace(0, 1, 101)
MOST_THRESHOLDS = 150


def roc_points(
    values: Float[np.ndarray, " n"], positive: Float[np.ndarray, "*r n"], negative: Float[np.ndarray, "*r n"]
) -> tuple[Float[np.ndarray, "*r k"], Float[np.ndarray, "*r k"]]:
    """False and true positive rates, from (0, 0) to (1, 1), one point per distinct score, from the highest."""
    wrong, right = metrics.counts_above(values, positive, negative)
    return wrong / wrong[..., -1:], right / right[..., -1:]


def precision_points(
    values: Float[np.ndarray, " n"], positive: Float[np.ndarray, "*r n"], negative: Float[np.ndarray, "*r n"]
) -> tuple[Float[np.ndarray, "*r k"], Float[np.ndarray, "*r k"]]:
    """Recall and precision, one point per distinct score, from the highest; precision is NaN where nothing is found."""
    wrong, right = metrics.counts_above(values, positive, negative)
    total = right + wrong
    precision = np.where(total > 0, right / np.where(total > 0, total, 1), np.nan)
    return right[..., 1:] / right[..., -1:], precision[..., 1:]


def roc_band(
    values: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"], draws: Float[np.ndarray, "r n"]
) -> tuple[Float[np.ndarray, " g"], Float[np.ndarray, " g"]]:
    """95 % of the resamples' true positive rates at each false positive rate of GRID."""
    false_rate, true_rate = roc_points(values, draws * positive, draws * ~positive)
    return _band(np.array([np.interp(GRID, x, y) for x, y in zip(false_rate, true_rate, strict=True)]))


def precision_band(
    values: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"], draws: Float[np.ndarray, "r n"]
) -> tuple[Float[np.ndarray, " g"], Float[np.ndarray, " g"]]:
    """95 % of the resamples' precisions at the highest threshold that reaches each recall of GRID."""
    recall, precision = precision_points(values, draws * positive, draws * ~positive)
    reached = [y[np.searchsorted(x, GRID).clip(max=len(x) - 1)] for x, y in zip(recall, precision, strict=True)]
    return _band(np.array(reached))


def f1_curve(
    values: Float[np.ndarray, " n"], positive: Bool[np.ndarray, " n"], draws: Float[np.ndarray, "r n"]
) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"], Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    """Thresholds (at most 150 midpoints, evenly among them), F1 at each, and the band's two sides.

    All four are empty where all values are equal.
    """
    thresholds = metrics.midpoints(values)
    if len(thresholds) > MOST_THRESHOLDS:
        thresholds = thresholds[np.linspace(0, len(thresholds) - 1, MOST_THRESHOLDS).round().astype(int)]
    above = (values[:, None] > thresholds).astype(float)
    right, called = (draws * positive) @ above, draws @ above
    low, high = _band(2 * right / (called + (draws @ positive.astype(float))[:, None]))
    return thresholds, metrics.f1_by_threshold(values, positive.astype(float), thresholds), low, high


def _band(rows: Float[np.ndarray, "r k"]) -> tuple[Float[np.ndarray, " k"], Float[np.ndarray, " k"]]:
    if not rows.shape[1]:  # numpy gives no row for any quantile of no columns
        return np.empty(0), np.empty(0)
    low, high = np.nanquantile(rows, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    return low, high
