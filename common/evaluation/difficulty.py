"""Whether a score tells more than the problem's length, difficulty and wording do.

1. Two logistic regressions without penalty, on the covariates, and on them and the score; both fitted on the problems
   that may be learned from. A score that was itself fitted on some of those has to come with out-of-fold values there:
   otherwise the regression trusts it more than it deserves.
2. Both are read on the problems for reporting. The gain is the difference of their AUROCs, with its paired interval.
3. The partial z is Wald's, of the score's coefficient in the second regression, fitted anew on the problems for
   reporting: it owes nothing to those on which the score was selected.

Source: Demler, Pencina & D'Agostino 2012, Stat. Med. 31 (why the gain is not read where it was fitted).
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool, Float
from sklearn.linear_model import LogisticRegression

from common.evaluation import differences, score_verdicts
from common.handoffs.score_verdicts import BeyondDifficulty

MAX_ITERATIONS = 500
_SEPARATED = 10.0  # standard error of a standardised column from which on its labels are (almost) parted by it


def beyond_difficulty(
    covariates: Mapping[str, Float[np.ndarray, " n"]],
    score: Float[np.ndarray, " n"],
    positive: Bool[np.ndarray, " n"],
    fitted_on: Bool[np.ndarray, " n"],
    read_on: Bool[np.ndarray, " n"],
    draws: Float[np.ndarray, "r m"],
) -> BeyondDifficulty:
    """What `score` adds to the covariates; `draws` are resamples of the problems that are `read_on`.

    Covariates that do not vary where they are fitted tell nothing and are left out.
    """
    used = {name: values for name, values in covariates.items() if np.ptp(values[fitted_on]) > 0}
    alone = np.column_stack([*used.values()]) if used else np.zeros((len(score), 0))
    joined, truth = np.column_stack([alone, score]), positive[read_on]
    areas = [
        differences.auroc(_log_odds(columns, positive, fitted_on)[read_on], truth, draws) for columns in (alone, joined)
    ]
    gain = areas[1].minus(areas[0])
    return BeyondDifficulty(
        verdict=score_verdicts.beyond_difficulty(gain),
        gain=gain,
        auroc_of_covariates=areas[0].interval,
        auroc_with_score=areas[1].interval,
        partial_z=partial_z(joined[read_on], truth),
        covariates=list(used),
    )


def partial_z(columns: Float[np.ndarray, "n k"], positive: Bool[np.ndarray, " n"]) -> float | None:
    """Wald's z of the last column in a logistic regression on all of them.

    None where it does not vary, follows from the others, or parts the labels: then no such regression exists.
    """
    varies = np.ptp(columns, axis=0) > 0
    if not varies[-1]:
        return None
    standard = _standardised(columns[:, varies], np.ones(len(columns), dtype=bool))
    design = np.column_stack([standard, np.ones(len(standard))])
    if np.linalg.matrix_rank(design) < np.linalg.matrix_rank(np.delete(design, -2, axis=1)) + 1:
        return None
    model = _fitted(standard, positive)
    chance = model.predict_proba(standard)[:, 1]
    information = (design * (chance * (1 - chance))[:, None]).T @ design
    error = np.sqrt(np.linalg.pinv(information, hermitian=True)[-2, -2])
    return float(model.coef_[0, -1] / error) if 0 < error < _SEPARATED else None


def _log_odds(columns: np.ndarray, positive: np.ndarray, fitted_on: np.ndarray) -> np.ndarray:
    if not columns.shape[1]:
        return np.zeros(len(columns))
    standard = _standardised(columns, fitted_on)
    return _fitted(standard[fitted_on], positive[fitted_on]).decision_function(standard)


def _standardised(columns: np.ndarray, fitted_on: np.ndarray) -> np.ndarray:
    """By mean and standard deviation where it is fitted; what does not vary there is 0."""
    fitted = columns[fitted_on]
    spread = fitted.std(axis=0)
    return np.where(spread > 0, (columns - fitted.mean(axis=0)) / np.where(spread > 0, spread, 1), 0.0)


def _fitted(standard: np.ndarray, positive: np.ndarray) -> LogisticRegression:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # collinear covariates, labels that are parted: ranks are sound all the same
        model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10, max_iter=MAX_ITERATIONS)
        return model.fit(standard, positive)
