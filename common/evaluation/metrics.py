"""What a score and its threshold are worth, for one set of problems or for many resamples of it at once.

Every function takes how often each problem counts as a positive and as a negative, [..., n]: ones and zeros for
the data themselves, multiplicities for bootstrap resamples, numbers of programs where a problem has several. A
score's order is found once, and all resamples follow it as array operations.

Where a metric is 0 / 0 it is NaN, never a number that looks measured; only Matthews' correlation is 0 then, as its
definition has it.

Sources: Hanley & McNeil 1982, Radiology 143 (AUROC); Matthews 1975, Biochim. Biophys. Acta 405; average precision
as scikit-learn defines it, the step-wise sum over distinct scores.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

AT_THRESHOLD = ("f1", "precision", "recall", "specificity", "balanced_accuracy", "mcc")
RANKED = ("auroc", "average_precision")


def auroc(
    values: Float[np.ndarray, " n"], positive: Float[np.ndarray, "*r n"], negative: Float[np.ndarray, "*r n"]
) -> Float[np.ndarray, "*r"]:
    """Chance that a positive's score exceeds a negative's, ties counted half; NaN without a positive or a negative."""
    won, pairs = pairs_won(values, positive, negative)
    return _ratio(won, pairs)


def auroc_of_each(scores: Float[np.ndarray, "s n"], positive: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " s"]:
    """The same of many scores of problems that count once each. Both labels must occur."""
    own, others = scores[:, positive], np.sort(scores[:, ~positive], axis=1)
    won = [
        np.searchsorted(negatives, positives).sum() + np.searchsorted(negatives, positives, side="right").sum()
        for positives, negatives in zip(own, others, strict=True)
    ]
    return np.array(won) / 2 / (own.shape[1] * others.shape[1])


def pairs_won(
    values: Float[np.ndarray, " n"], positive: Float[np.ndarray, "*r n"], negative: Float[np.ndarray, "*r n"]
) -> tuple[Float[np.ndarray, "*r"], Float[np.ndarray, "*r"]]:
    """Pairs of a positive and a negative whose positive scores higher (ties counted half), and all pairs."""
    positive, negative = _from_the_highest(values, positive, negative)
    return _won(positive, negative, np.cumsum(negative, axis=-1))


def ranked(
    values: Float[np.ndarray, " n"], positive: Float[np.ndarray, "*r n"], negative: Float[np.ndarray, "*r n"]
) -> dict[str, Float[np.ndarray, "*r"]]:
    """AUROC, and average precision: the sum over distinct scores, from the highest, of the gain in recall times the
    precision there; NaN without a positive."""
    positive, negative = _from_the_highest(values, positive, negative)
    right, wrong = np.cumsum(positive, axis=-1), np.cumsum(negative, axis=-1)
    won, pairs = _won(positive, negative, wrong)
    flagged = right + wrong
    flagged[flagged == 0] = 1  # nothing was drawn yet: precision 0
    gained = (positive * (right / flagged)).sum(axis=-1)
    return {"auroc": _ratio(won, pairs), "average_precision": _ratio(gained, right[..., -1])}


def counts_above(
    values: Float[np.ndarray, " n"], positive: Float[np.ndarray, "*r n"], negative: Float[np.ndarray, "*r n"]
) -> tuple[Float[np.ndarray, "*r k"], Float[np.ndarray, "*r k"]]:
    """Negatives and positives at or above each distinct score, from the highest; first a column of zeros."""
    both = (np.cumsum(weights, axis=-1) for weights in _from_the_highest(values, negative, positive))
    wrong, right = (np.concatenate([np.zeros_like(counts[..., :1]), counts], axis=-1) for counts in both)
    return wrong, right


def at_threshold(
    predicted: Bool[np.ndarray, " n"], positive: Float[np.ndarray, "*r n"], negative: Float[np.ndarray, "*r n"]
) -> dict[str, Float[np.ndarray, "*r"]]:
    """F1, precision, recall, specificity, balanced accuracy and Matthews' correlation of yes-or-no predictions."""
    tp, fp = positive @ predicted.astype(float), negative @ predicted.astype(float)
    fn, tn = positive.sum(axis=-1) - tp, negative.sum(axis=-1) - fp
    recall, specificity = _ratio(tp, tp + fn), _ratio(tn, tn + fp)
    margins = np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))
    return {
        "f1": _ratio(2 * tp, 2 * tp + fp + fn),
        "precision": _ratio(tp, tp + fp),
        "recall": recall,
        "specificity": specificity,
        "balanced_accuracy": (recall + specificity) / 2,
        "mcc": np.where(margins == 0, 0.0, (tp * tn - fp * fn) / np.where(margins == 0, 1, margins)),
    }


def midpoints(values: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n_distinct_less_one"]:
    """A number between every two neighbouring distinct values, ascending; none where all values are equal.

    Of two values without a number between them, the lower one: `value > threshold` parts them all the same.
    """
    distinct = np.unique(values)
    lower, upper = distinct[:-1], distinct[1:]
    middle = lower + (upper - lower) / 2
    return np.where(middle < upper, middle, lower)


def f1_by_threshold(
    values: Float[np.ndarray, " n"], positive: Float[np.ndarray, " n"], thresholds: Float[np.ndarray, " k"]
) -> Float[np.ndarray, " k"]:
    """F1 of `value > threshold` for each threshold; `positive` is 1 for positives and 0 for negatives."""
    order = np.argsort(values, kind="stable")
    first_above = np.searchsorted(values[order], thresholds, side="right")
    true_positives = np.append(np.cumsum(positive[order][::-1])[::-1], 0.0)[first_above]
    return 2 * true_positives / (len(values) - first_above + positive.sum())


def best_threshold(values: Float[np.ndarray, " n"], positive: Float[np.ndarray, " n"]) -> float | None:
    """The midpoint with the largest F1; of several, the lowest. None for a constant score: it predicts nothing."""
    thresholds = midpoints(values)
    if not len(thresholds):
        return None
    return float(thresholds[np.argmax(f1_by_threshold(values, positive, thresholds))])  # equal fractions are equal


def predicted_positive(values: Float[np.ndarray, " n"], threshold: float | None) -> Bool[np.ndarray, " n"]:
    """Which values exceed the threshold; none where there is no threshold."""
    return np.zeros(len(values), dtype=bool) if threshold is None else values > threshold


def _from_the_highest(values: np.ndarray, *counted: np.ndarray) -> tuple[np.ndarray, ...]:
    """Weights summed over equal values, by falling value: [..., n distinct]."""
    order = np.argsort(values, kind="stable")[::-1]
    ordered = values[order]
    starts = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1]))
    if len(starts) == len(order):  # without ties there is nothing to sum, which takes the longest
        return tuple(np.take(weights, order, axis=-1) for weights in counted)
    return tuple(np.add.reduceat(weights[..., order], starts, axis=-1) for weights in counted)


def _won(positive: np.ndarray, negative: np.ndarray, wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What `pairs_won` gives, from weights by falling value; `wrong` are the negatives at or above each."""
    n_negative = wrong[..., -1]
    beaten = n_negative[..., None] - wrong + negative / 2
    return np.einsum("...k,...k->...", positive, beaten), positive.sum(axis=-1) * n_negative


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """NaN where the denominator is 0."""
    return np.where(denominator == 0, np.nan, numerator / np.where(denominator == 0, 1, denominator))
