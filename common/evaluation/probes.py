"""Two linear readings of the whole residual stream, fitted on one split: what a single latent has to be compared with.

Sources: Marks & Tegmark 2023, arXiv:2310.06824 (difference of means); scikit-learn's LogisticRegression.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold, cross_val_predict
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
    x: Float[np.ndarray, "n d"], own: Bool[np.ndarray, " n"], incorrect: Bool[np.ndarray, " n"], seed: int
) -> CrossFitted:
    """The same probe of the rows of `own`, with what comparisons with others need."""
    search = penalty_search(x[own], incorrect[own], seed)
    values = search.decision_function(x)
    outside = values.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        outside[own] = cross_val_predict(
            search.best_estimator_, x[own], incorrect[own], cv=search.cv, method="decision_function"
        )
    return CrossFitted(values, outside, float(search.best_score_), _facts(search))


def penalty_search(fitted_on: Float[np.ndarray, "m d"], incorrect: Bool[np.ndarray, " m"], seed: int) -> GridSearchCV:
    """Logistic regression on standardised activations, fitted, with the C of the best cross-validated AUROC."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # said in the result, of the fit that is used
        return unfitted_search(seed).fit(fitted_on, incorrect)


def unfitted_search(seed: int) -> GridSearchCV:
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=MAX_ITERATIONS))
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    return GridSearchCV(model, {"logisticregression__C": STRENGTHS}, scoring="roc_auc", cv=folds)


def difference_of_means(
    x: Float[np.ndarray, "n d"], fitted_on: Float[np.ndarray, "m d"], incorrect: Bool[np.ndarray, " m"]
) -> Float[np.ndarray, " n"]:
    """Projection of the rows of `x` on mean incorrect - mean correct of `fitted_on`."""
    return x @ (fitted_on[incorrect].mean(axis=0) - fitted_on[~incorrect].mean(axis=0))


def _facts(search: GridSearchCV) -> dict[str, Any]:
    fitted = search.best_estimator_[-1]
    return {"C": float(fitted.C), "converged": bool(fitted.n_iter_.max() < MAX_ITERATIONS)}
