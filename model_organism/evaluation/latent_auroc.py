"""How well one latent tells, at the last prompt token, whether the program will be correct.

The latent is chosen on one half of the problems and measured on the other, in ten stratified splits.
"""

import numpy as np
from scipy.stats import rankdata
from sklearn.model_selection import StratifiedShuffleSplit

from model_organism.evaluation.probes import N_SPLITS, auroc_within


def best_latent_aurocs(latent_acts: np.ndarray, is_correct: np.ndarray, strata: np.ndarray) -> dict[str, float]:
    """Held-out AUROC of the best single latent, [problem, d_sae], turned so that the choice half is above 0.5.

    `within_operations` counts only pairs of problems of one stratum. `most_chosen` is the latent
    that was best in most splits.
    """
    splitter = StratifiedShuffleSplit(N_SPLITS, test_size=0.5, random_state=0)
    overall, within, chosen = [], [], []
    for choice, test in splitter.split(latent_acts, is_correct):
        centred = auroc_by_latent(latent_acts[choice], is_correct[choice]) - 0.5
        best = int(np.abs(centred).argmax())
        scores = np.sign(centred[best]) * latent_acts[test, best]
        overall.append(auroc_by_latent(scores[:, None], is_correct[test])[0])
        within.append(auroc_within(is_correct[test], scores, strata[test]))
        chosen.append(best)
    latents, counts = np.unique(chosen, return_counts=True)
    return {
        "auroc": float(np.mean(overall)),
        "auroc_sd": float(np.std(overall)),
        "auroc_lowest": float(np.min(overall)),
        "within_operations": float(np.mean(within)),
        "most_chosen": int(latents[counts.argmax()]),
        "n_chosen": int(counts.max()),
    }


def auroc_by_latent(latent_acts: np.ndarray, is_positive: np.ndarray) -> np.ndarray:
    """AUROC of every column, ties counted half, from the ranks (Mann and Whitney 1947)."""
    n_positive = is_positive.sum()
    n_negative = len(is_positive) - n_positive
    rank_sums = rankdata(latent_acts, axis=0)[is_positive].sum(0)
    return (rank_sums - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative)
