"""From an interval to a verdict of three outcomes, and the power of one that says no.

Chance is an AUROC of 1/2. An interval below 0.55 says that the score is at most worthless; one that holds both chance
and more says nothing, and then stands beside it what so many problems could have shown.

Source of the standard error: Hanley & McNeil 1982, Radiology 143.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.optimize import brentq

from common.evaluation import differences
from common.handoffs.estimates import Interval
from common.handoffs.score_verdicts import AgainstAlways, AlwaysVerdict, DifficultyVerdict, RankingPower, RankingVerdict

CHANCE = 0.5
WORTHLESS_BELOW = 0.55  # an AUROC that nobody would use
NEGLIGIBLE_GAIN = 0.02  # of AUROC over covariates: less is not worth a score of its own
POWER = 0.8
_Z_OF_INTERVAL, _Z_OF_POWER = 1.959963984540054, 0.8416212335729143  # normal quantiles of 97.5 % and of POWER


def ranking(auroc: Interval, random_q95: float | None = None) -> RankingVerdict:
    """Whether a score ranks. `random_q95` is the AUROC that 95 % of random latents of its layer stay below.

    Many latents follow the difficulty of the problem a little: to rank is to do more than they. None where no random
    latent is known, or where the score is not a latent's.
    """
    if auroc.value is None or auroc.low is None or auroc.high is None:
        return RankingVerdict.CANNOT_TELL
    if auroc.low > CHANCE:
        more = random_q95 is None or auroc.value > random_q95
        return RankingVerdict.RANKS if more else RankingVerdict.LIKE_RANDOM
    return RankingVerdict.DOES_NOT_RANK if auroc.high < WORTHLESS_BELOW else RankingVerdict.CANNOT_TELL


def beyond_difficulty(gain: Interval) -> DifficultyVerdict:
    """What a gain of AUROC over the covariates alone says."""
    if gain.low is None or gain.high is None:
        return DifficultyVerdict.CANNOT_TELL
    if gain.low > 0:
        return DifficultyVerdict.BEYOND
    return DifficultyVerdict.NOT_BEYOND if gain.high < NEGLIGIBLE_GAIN else DifficultyVerdict.CANNOT_TELL


def against_always(
    predicted: Bool[np.ndarray, " n"], positive: Bool[np.ndarray, " n"], draws: Float[np.ndarray, "r n"]
) -> AgainstAlways:
    """F1 of yes-or-no predictions beside that of answering yes to everything, on the same resamples."""
    own, always = (
        differences.at_threshold(each, positive, draws)["f1"] for each in (predicted, np.ones_like(predicted))
    )
    difference = own.minus(always)
    verdict = AlwaysVerdict.CANNOT_TELL
    if difference.low is not None and difference.low > 0:
        verdict = AlwaysVerdict.BETTER
    elif difference.high is not None and difference.high < 0:
        verdict = AlwaysVerdict.WORSE
    return AgainstAlways(verdict=verdict, f1_difference=difference)


def ranking_power(n_positive: int, n_negative: int, random_q95: float | None = None) -> RankingPower:
    """The smallest true AUROC of a continuous score that `ranking` calls "ranks" in 80 % of draws of so many problems.

    "Ranks" asks for an estimate above the larger of `random_q95` and 1/2 + 1.96 standard errors; a true AUROC reaches
    it in 80 % of draws when it lies 0.84 standard errors higher. A score with many ties needs less.
    """
    smallest = None
    if n_positive and n_negative:
        shown = _crossing(CHANCE, _Z_OF_INTERVAL, n_positive, n_negative)
        if shown is not None:
            bound = max(shown, CHANCE if random_q95 is None else random_q95)
            smallest = _crossing(bound, _Z_OF_POWER, n_positive, n_negative)
    return RankingPower(smallest_auroc=smallest, power=POWER, n_positive=n_positive, n_negative=n_negative)


def standard_error(auroc: float, n_positive: int, n_negative: int) -> float:
    """Of an estimated AUROC, by Hanley and McNeil's formula for exponentially distributed scores."""
    above_two, below_two = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    variance = (
        auroc * (1 - auroc) + (n_positive - 1) * (above_two - auroc**2) + (n_negative - 1) * (below_two - auroc**2)
    )
    return math.sqrt(variance / (n_positive * n_negative))


def _crossing(bound: float, z: float, n_positive: int, n_negative: int) -> float | None:
    """The AUROC that lies z of its standard errors above `bound`; None where even 0.999 does not."""

    def short(auroc: float) -> float:
        return auroc - z * standard_error(auroc, n_positive, n_negative) - bound

    if short(0.999) < 0:
        return None
    root: Any = brentq(short, bound, 0.999)  # its annotation does not say that it is a number
    return float(root)
