"""Two linear readings of the whole residual stream, fitted on one split: what a single latent has to be compared with.

Sources: Marks & Tegmark 2023, arXiv:2310.06824 (difference of means); scikit-learn's LogisticRegression.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

STRENGTHS = tuple(10.0**k for k in range(-5, 2))  # C: the inverse of the penalty on standardised activations
N_FOLDS = 5
MAX_ITERATIONS = 5000


def logistic_regression(
    x: Float[np.ndarray, "n d"], fitted_on: Float[np.ndarray, "m d"], incorrect: Bool[np.ndarray, " m"], seed: int
) -> tuple[Float[np.ndarray, " n"], dict[str, Any]]:
    """Log odds of incorrect for the rows of `x`; {"C", "converged"}: C has the best cross-validated AUROC."""
    search = penalty_search(fitted_on, incorrect, seed)
    return search.decision_function(x), _facts(search)


@dataclass(frozen=True)
class CrossFitted:
    """Log odds of incorrect of every row; `out_of_fold`: those learned from by a fit without their fold, at the same C.

    `cross_validated` is the mean AUROC over the folds; `facts` are those of `logistic_regression`.
    """

    values: Float[np.ndarray, " n"]
    out_of_fold: Float[np.ndarray, " n"]
    cross_validated: float
    facts: dict[str, Any]


def cross_fitted_regression(
    x: Float[np.ndarray, "n d"], fitted_on: Bool[np.ndarray, " n"], incorrect: Bool[np.ndarray, " n"], seed: int
) -> CrossFitted:
    """The same probe of the rows of `fitted_on`, with what comparisons with others need."""
    search = penalty_search(x[fitted_on], incorrect[fitted_on], seed)
    values = search.decision_function(x)
    outside = values.copy()
    outside[fitted_on] = search.out_of_fold_
    return CrossFitted(values, outside, search.best_score_, _facts(search))


class PenaltySearch(ClassifierMixin, BaseEstimator):
    """Logistic regression on standardised activations, with the C of the best cross-validated AUROC; of equal ones the
    smallest.

    It is scikit-learn's GridSearchCV of that pipeline to the last bit, but a fold is scaled once and not for each C,
    and the scores out of fold are kept: `out_of_fold_`, of the C that was chosen.
    """

    def __init__(self, seed: int = 0) -> None:
        self.seed = seed

    def fit(self, x: Float[np.ndarray, "m d"], incorrect: Bool[np.ndarray, " m"]) -> PenaltySearch:
        folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=self.seed)
        areas, outside = np.empty((len(STRENGTHS), N_FOLDS)), np.empty((len(STRENGTHS), len(x)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # said in the result, of the fit that is used
            for fold, (train, test) in enumerate(folds.split(x, incorrect)):
                scaler = StandardScaler().fit(x[train])
                learned, held_out = scaler.transform(x[train]), scaler.transform(x[test])
                for row, strength in enumerate(STRENGTHS):
                    model = _regression(strength).fit(learned, incorrect[train])
                    outside[row, test] = model.decision_function(held_out)
                    areas[row, fold] = roc_auc_score(incorrect[test], outside[row, test])
            means = areas.mean(axis=1)
            best = int(means.argmax())
            self.best_score_, self.out_of_fold_ = float(means[best]), outside[best]
            self.best_estimator_: Any = make_pipeline(StandardScaler(), _regression(STRENGTHS[best]))
            self.best_estimator_.fit(x, incorrect)
        self.classes_ = self.best_estimator_.classes_
        return self

    def decision_function(self, x: Float[np.ndarray, "n d"]) -> Float[np.ndarray, " n"]:
        return self.best_estimator_.decision_function(x)

    def predict(self, x: Float[np.ndarray, "n d"]) -> Bool[np.ndarray, " n"]:
        return self.best_estimator_.predict(x)


def penalty_search(fitted_on: Float[np.ndarray, "m d"], incorrect: Bool[np.ndarray, " m"], seed: int) -> PenaltySearch:
    """The fitted search, on problems of which 5 or more have each label."""
    return PenaltySearch(seed).fit(fitted_on, incorrect)


def _regression(strength: float) -> LogisticRegression:
    return LogisticRegression(C=strength, max_iter=MAX_ITERATIONS)


def difference_of_means(
    x: Float[np.ndarray, "n d"], fitted_on: Float[np.ndarray, "m d"], incorrect: Bool[np.ndarray, " m"]
) -> Float[np.ndarray, " n"]:
    """Projection of the rows of `x` on mean incorrect - mean correct of `fitted_on`."""
    return x @ (fitted_on[incorrect].mean(axis=0) - fitted_on[~incorrect].mean(axis=0))


def _facts(search: PenaltySearch) -> dict[str, Any]:
    fitted = search.best_estimator_[-1]
    return {"C": float(fitted.C), "converged": bool(fitted.n_iter_.max() < MAX_ITERATIONS)}
