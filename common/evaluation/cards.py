"""The evaluation card of one score, and the verdict on one direction."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from common.evaluation import metrics
from common.evaluation.bootstrap import interval, number
from common.evaluation.delong import delong_interval

CHANCE = 0.5
DETECTOR, NOT_BETTER_THAN_CHANCE = "detector", "not better than chance"
NOT_BETTER_THAN_RANDOM = "not better than random latents of its layer"


def evaluation_card(
    values: Float[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"],
    threshold: float | None,
    draws: Float[np.ndarray, "r n"],
) -> dict[str, Any]:
    """All metrics of `value > threshold` on problems of which `positive` have the label that is looked for.

    `draws` says how often each problem is in each resample (bootstrap.py). A threshold of None predicts nothing.
    """
    once, drawn = (positive.astype(float), (~positive).astype(float)), (draws * positive, draws * ~positive)
    card: dict[str, Any] = {
        "threshold": threshold,
        "n": len(values),
        "n_positive": int(positive.sum()),
        "base_rate": number(positive.mean()),
    }
    predicted = metrics.predicted_positive(values, threshold)
    found, resampled = metrics.at_threshold(predicted, *once), metrics.at_threshold(predicted, *drawn)
    card |= {name: interval(found[name], resampled[name]) for name in metrics.AT_THRESHOLD}
    low, high = delong_interval(values, positive)
    area = interval(metrics.auroc(values, *once), metrics.auroc(values, *drawn))
    card["auroc"] = {**area, "delong_low": number(low), "delong_high": number(high)}
    card["average_precision"] = interval(
        metrics.average_precision(values, *once), metrics.average_precision(values, *drawn)
    )
    return card


def always_positive_f1(n_positive: int, n: int) -> float:
    """F1 of calling every program positive: 2 p / (1 + p) at the base rate p."""
    return 2 * n_positive / (n + n_positive)


def verdict(card: dict[str, Any], positive: str, random_auroc: float | None = None) -> str:
    """What may be said of a direction whose card on the validation split this is.

    A detector's AUROC interval lies above 1/2, and its F1 above that of always answering `positive`. Many latents
    follow the difficulty of the problem a little; so its AUROC must also exceed `random_auroc`, which 95 % of
    random latents of its layer stay below (None: no random latent is known).
    """
    low, f1 = card["auroc"]["low"], card["f1"]["value"]
    if low is None or not low > CHANCE:
        return NOT_BETTER_THAN_CHANCE
    if f1 <= always_positive_f1(card["n_positive"], card["n"]):
        return f"not better than always saying {positive}"
    if random_auroc is not None and card["auroc"]["value"] <= random_auroc:
        return NOT_BETTER_THAN_RANDOM
    return DETECTOR
