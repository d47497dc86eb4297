"""How well correctness can be told before a token is generated: linear probes, and simple baselines.

AUROC overall, and *within* the number of operations: pairs of a passed and a failed problem count
only if both compose equally many operations, because most of what predicts success is difficulty.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from model_organism.evaluation.graded_run import GradedRun
from model_organism.operations import OPERATIONS
from model_organism.problems import TIER_FACTORS, TRAINING

N_SPLITS = 10
TEST_SHARE = 0.5
REGULARISATIONS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1)
RARITY_RANK = {"A": 0, "B": 1, "C": 2}


def auroc_within(labels: np.ndarray, scores: np.ndarray, strata: np.ndarray) -> float:
    """AUROC over the pairs inside a stratum, pooled over strata (each weighs as many pairs as it has)."""
    total = n_pairs = 0.0
    for stratum in np.unique(strata):
        chosen = strata == stratum
        n_positive = labels[chosen].sum()
        pairs = n_positive * (chosen.sum() - n_positive)
        if pairs:
            total += pairs * roc_auc_score(labels[chosen], scores[chosen])
            n_pairs += pairs
    return total / n_pairs


def baseline_aurocs(run: GradedRun, count_tokens: Callable[[str], int]) -> dict[str, dict[str, float]]:
    """AUROC of single known numbers, the sign such that more difficult means lower; no fitting."""
    strata = run.known("n_operations")
    summed_logprob = run.mean_logprob * run.n_new_tokens
    scores = {
        "description length [characters]": [-len(text) for text in run.known("text")],
        "prompt length [tokens]": [-count_tokens(prompt) for prompt in run.prompts],
        "number of operations": -strata,
        "complexity of the reference": -run.known("complexity"),
        "rarity of the rarest operation": [-RARITY_RANK[tier] for tier in run.known("rarity")],
        "mean log-probability of the answer": run.mean_logprob,
        "summed log-probability of the answer": summed_logprob,
    }
    return {
        name: {
            "auroc": float(roc_auc_score(run.is_correct, values)),
            "within_operations": float(auroc_within(run.is_correct, np.asarray(values, float), strata)),
        }
        for name, values in scores.items()
    }


def surface_features(run: GradedRun, count_tokens: Callable[[str], int]) -> np.ndarray:
    """Description and prompt length, number of operations and complexity, [problem, 4]."""
    lengths = [[len(text), count_tokens(prompt)] for text, prompt in zip(run.known("text"), run.prompts, strict=True)]
    return np.column_stack([lengths, run.known("n_operations"), run.known("complexity")]).astype(float)


def training_frequencies(run: GradedRun) -> np.ndarray:
    """Log relative training frequency of the rarest operation, and summed over operations, [problem, 2]."""
    factors = TIER_FACTORS[TRAINING]
    chains = [[OPERATIONS[name] for name in problem["operations"]] for problem in run.problems]
    logs = [[math.log(operation.weight * factors[operation.tier]) for operation in chain] for chain in chains]
    return np.array([[min(values), sum(values)] for values in logs])


def probe_aurocs(run: GradedRun, features: np.ndarray) -> dict[str, float]:
    """Logistic regression from `features` [problem, feature], tested on halves that it has not seen.

    Means over `N_SPLITS` stratified splits, and the standard deviation between them. The strength
    of the penalty is chosen by cross-validation inside the training half.
    """
    strata = run.known("n_operations")
    overall, within = [], []
    for train, test in _splits(run.is_correct):
        scores = fitted_probe(features[train], run.is_correct[train]).decision_function(features[test])
        overall.append(roc_auc_score(run.is_correct[test], scores))
        within.append(auroc_within(run.is_correct[test], scores, strata[test]))
    return {
        "auroc": float(np.mean(overall)),
        "auroc_sd": float(np.std(overall)),
        "within_operations": float(np.mean(within)),
        "within_sd": float(np.std(within)),
    }


def nested_probe_auroc(run: GradedRun) -> dict[str, float]:
    """The probe when its layer too is chosen by cross-validation inside the training half."""
    strata = run.known("n_operations")
    overall, within = [], []
    for train, test in _splits(run.is_correct):
        fits = {layer: fitted_probe(resid[train], run.is_correct[train]) for layer, resid in run.resid_post.items()}
        best = max(fits, key=lambda layer: fits[layer].best_score_)
        scores = fits[best].decision_function(run.resid_post[best][test])
        overall.append(roc_auc_score(run.is_correct[test], scores))
        within.append(auroc_within(run.is_correct[test], scores, strata[test]))
    return {"auroc": float(np.mean(overall)), "within_operations": float(np.mean(within))}


def _splits(labels: np.ndarray) -> Sequence[tuple[np.ndarray, np.ndarray]]:
    splitter = StratifiedShuffleSplit(N_SPLITS, test_size=TEST_SHARE, random_state=0)
    return list(splitter.split(np.zeros(len(labels)), labels))


def fitted_probe(features: np.ndarray, labels: np.ndarray) -> GridSearchCV:
    """Logistic regression, its penalty chosen by cross-validation."""
    pipeline: Pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=500))
    grid = {"logisticregression__C": REGULARISATIONS}
    return GridSearchCV(pipeline, grid, scoring="roc_auc", cv=3).fit(features, labels)
