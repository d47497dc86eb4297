"""What a text's own words tell of the label: the score that needs no model, only the wording.

1. Two bags of terms, words and character 2- to 4-grams, each weighted by TF-IDF (smoothed, rows of length 1) with the
   terms and document frequencies of those texts alone that are learned from.
2. L2-penalised logistic regression on both; its C has the best mean AUROC over 5 folds.
3. As a covariate the score is cross-fitted: texts that it may learn from get the score of a fit without their fold.

Source: scikit-learn's TfidfTransformer and LogisticRegression; Chernozhukov et al. 2018, Econom. J. 21 (cross-fitting).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float
from scipy.sparse import csr_array, hstack
from sklearn.feature_extraction.text import CountVectorizer, TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from common.evaluation import metrics
from common.evaluation.probes import N_FOLDS

STRENGTHS = (0.1, 1.0, 10.0, 100.0)  # C: the inverse of the penalty on rows of length 1
MAX_ITERATIONS = 2000


class TextScores:
    """Scores of some texts by their terms, which are counted once. `incorrect` holds the labels of all texts."""

    def __init__(self, texts: Sequence[str], incorrect: Bool[np.ndarray, " n"], seed: int) -> None:
        bags = (CountVectorizer(), CountVectorizer(analyzer="char", ngram_range=(2, 4)))
        self._counts = [csr_array(bag.fit_transform(texts)) for bag in bags]
        self._incorrect, self._seed = incorrect, seed

    def strength(self, own: Bool[np.ndarray, " n"]) -> float:
        """The C with the best cross-validated AUROC on the texts of `own`; of equal ones the smallest."""
        areas = []
        for train, test in self._folds(own):
            truth = self._incorrect[test].astype(float)
            scores = self._log_odds(train, test, STRENGTHS)
            areas.append([metrics.auroc(values, truth, 1 - truth) for values in scores])
        return STRENGTHS[int(np.mean(areas, axis=0).argmax())]

    def fitted_on(self, own: Bool[np.ndarray, " n"], strength: float) -> Float[np.ndarray, " n"]:
        """Log odds of incorrect of every text, by a fit on those of `own`."""
        return self._log_odds(np.flatnonzero(own), np.arange(len(own)), [strength])[0]

    def cross_fitted(self, own: Bool[np.ndarray, " n"], strength: float) -> Float[np.ndarray, " n"]:
        """The same, but texts of `own` have the log odds of a fit without their fold of 5."""
        log_odds = self.fitted_on(own, strength)
        for train, test in self._folds(own):
            (log_odds[test],) = self._log_odds(train, test, [strength])
        return log_odds

    def _folds(self, own: np.ndarray) -> list[tuple[np.ndarray, np.ndarray]]:
        rows = np.flatnonzero(own)
        splits = StratifiedKFold(N_FOLDS, shuffle=True, random_state=self._seed).split(rows, self._incorrect[rows])
        return [(rows[train], rows[test]) for train, test in splits]

    def _log_odds(self, learned: np.ndarray, wanted: np.ndarray, strengths: Sequence[float]) -> list[np.ndarray]:
        parts = [self._tfidf(counts, learned, wanted) for counts in self._counts]
        x, target = (hstack([part[place] for part in parts], format="csr") for place in (0, 1))
        models = (LogisticRegression(C=strength, max_iter=MAX_ITERATIONS) for strength in strengths)
        return [model.fit(x, self._incorrect[learned]).decision_function(target) for model in models]

    @staticmethod
    def _tfidf(counts: csr_array, learned: np.ndarray, wanted: np.ndarray) -> tuple[csr_array, csr_array]:
        """Rows learned from and rows wanted; terms that none of the first have are unknown."""
        own = counts[learned]
        known = np.unique(own.indices)
        own, others = own[:, known], counts[wanted][:, known]
        weights = TfidfTransformer().fit(own)
        return csr_array(weights.transform(own)), csr_array(weights.transform(others))
