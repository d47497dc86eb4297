"""What tells that a program fails without a look inside the model, and what a probe adds to all of that together.

1. Single quantities: of the problem, and of what the model wrote. Turned by their AUROC on `sae`.
2. The text alone: logistic regression on TF-IDF of words and of character 2- to 4-grams, its penalty by
   cross-validation.
3. All that is known before the program, as covariates of one logistic regression fitted on sae + hyperparams; a score
   that was itself fitted there enters by its out-of-fold values. The gain is the AUROC on `validation` when the probe's
   score joins, with the interval of the difference on the same resamples.

Scores are larger for incorrect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from common.evaluation import metrics, probes
from common.evaluation.bootstrap import interval
from common.handoffs.estimates import Interval
from natural.labelled_run import LabelledRun

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from sklearn.pipeline import Pipeline

    from common.evaluation.probes import PenaltySearch

BEFORE, FIRST, AFTER = "before", "with the first token", "after"
TFIDF_STRENGTHS = tuple(10.0**k for k in range(-2, 3))  # rows of TF-IDF have unit length: no standardisation
Measure = Callable[[dict[str, Any], dict[str, Any]], float]  # of a row of phase 0.1 and of phase 1

SIMPLE: dict[str, tuple[str, Measure]] = {
    "prompt length": (BEFORE, lambda problem, program: len(program["prompt"])),
    "description length": (BEFORE, lambda problem, program: len(problem["text"])),
    "complexity": (BEFORE, lambda problem, program: problem["complexity"]),
    "lines": (BEFORE, lambda problem, program: problem["n_lines"]),
    "nodes": (BEFORE, lambda problem, program: problem["n_nodes"]),
    "first-token entropy": (FIRST, lambda problem, program: program["first_token_entropy"]),
    "mean log-probability": (AFTER, lambda problem, program: program["mean_logprob"]),
    "summed log-probability": (AFTER, lambda problem, program: program["mean_logprob"] * program["n_new_tokens"]),
}
COVARIATES = tuple(name for name, (known, _) in SIMPLE.items() if known == BEFORE)
TEXTS: dict[str, Callable[[dict[str, Any], dict[str, Any]], str]] = {
    "TF-IDF of the prompt": lambda problem, program: program["prompt"],
    "TF-IDF of the description": lambda problem, program: problem["text"],
}
Scores = dict[str, np.ndarray]


def simple_scores(run: LabelledRun) -> Scores:
    """Each single quantity, turned so that it speaks for incorrect on `sae`."""
    pairs = list(zip(run.problems.problems, run.problems.programs, strict=True))
    selects, incorrect = run.of("sae"), run.problems.incorrect.astype(float)
    scores = {}
    for name, (_, measure) in SIMPLE.items():
        values = np.array([measure(*pair) for pair in pairs], dtype=float)
        area = metrics.auroc(values[selects], incorrect[selects], 1 - incorrect[selects])
        scores[name] = -values if area < 0.5 else values
    return scores


def text_scores(run: LabelledRun, seed: int) -> tuple[Scores, Scores]:
    """TF-IDF scores fitted on `sae`; and cross-fitted on sae + hyperparams, for `together`."""
    pairs = list(zip(run.problems.problems, run.problems.programs, strict=True))
    fitted, crossed = {}, {}
    for name, text_of in TEXTS.items():
        texts = np.array([text_of(*pair) for pair in pairs], dtype=object)
        selects = run.of("sae")
        fitted[name] = _tfidf(seed).fit(texts[selects], run.problems.incorrect[selects]).decision_function(texts)
        crossed[name] = cross_fitted(_tfidf(seed), texts, run, seed)
    return fitted, crossed


def _tfidf(seed: int) -> Pipeline:
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedKFold
    from sklearn.pipeline import make_pipeline, make_union

    features = make_union(
        TfidfVectorizer(sublinear_tf=True), TfidfVectorizer(analyzer="char", ngram_range=(2, 4), sublinear_tf=True)
    )
    folds = StratifiedKFold(probes.N_FOLDS, shuffle=True, random_state=seed)
    regression = LogisticRegression(solver="liblinear", random_state=0)  # for some hundred rows, ten times as fast
    return make_pipeline(features, GridSearchCV(regression, {"C": TFIDF_STRENGTHS}, scoring="roc_auc", cv=folds))


def cross_fitted(
    model: Pipeline | PenaltySearch, x: np.ndarray, run: LabelledRun, seed: int
) -> Float[np.ndarray, " n"]:
    """Scores of a model fitted on sae + hyperparams: there those of the fold that was left out, elsewhere of all."""
    from sklearn.base import clone
    from sklearn.model_selection import StratifiedKFold, cross_val_predict

    fitted_on, incorrect = run.of("sae", "hyperparams"), run.problems.incorrect
    folds = StratifiedKFold(probes.N_FOLDS, shuffle=True, random_state=seed + 1)  # not those of the penalty
    scores = cast("Pipeline", clone(model)).fit(x[fitted_on], incorrect[fitted_on]).decision_function(x)
    scores[fitted_on] = cross_val_predict(
        model, x[fitted_on], incorrect[fitted_on], cv=folds, method="decision_function"
    )
    return scores


def together(columns: Scores, run: LabelledRun, seed: int) -> Float[np.ndarray, " n"]:
    """Log odds of one regression on standardised columns, fitted on sae + hyperparams."""
    x, fitted_on = np.column_stack(list(columns.values())), run.of("sae", "hyperparams")
    values, _ = probes.logistic_regression(x, x[fitted_on], run.problems.incorrect[fitted_on], seed)
    return values


def area(values: np.ndarray, incorrect: Bool[np.ndarray, " n"], draws: Float[np.ndarray, "r n"]) -> Interval:
    """AUROC with its interval from a stratified bootstrap."""
    once, drawn = _weights(incorrect, draws)
    return interval(metrics.auroc(values, *once), metrics.auroc(values, *drawn))


def gain(
    with_probe: np.ndarray, without: np.ndarray, incorrect: Bool[np.ndarray, " n"], draws: Float[np.ndarray, "r n"]
) -> Interval:
    """Difference of two AUROCs with its paired interval."""
    once, drawn = _weights(incorrect, draws)
    value = metrics.auroc(with_probe, *once) - metrics.auroc(without, *once)
    return interval(value, metrics.auroc(with_probe, *drawn) - metrics.auroc(without, *drawn))


def _weights(incorrect: np.ndarray, draws: np.ndarray) -> tuple[tuple, tuple]:
    return (incorrect.astype(float), (~incorrect).astype(float)), (draws * incorrect, draws * ~incorrect)
