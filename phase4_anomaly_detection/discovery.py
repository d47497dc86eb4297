"""Which latents of one layer a detector adds up, and with which weights.

    found = FeatureDiscovery(DiscoveryConfig(top_k=20)).select(latent_acts, incorrect, general_text_rate)

1. Welch's t of every latent, incorrect against correct, zeros included (common/evaluation/separation.py). Latents
   that fire on general text are left out before anything is ranked; of the rest those with t >= min_t, and, where
   asked, significant ones; of these the `top_k` with the largest t.
2. Weights, fitted on the same texts: "t" is each latent's share of the sum of t. "l1" is an L1-penalised logistic
   regression on standardised activations, its strength chosen by cross-validation, brought back to the SAE's units;
   latents that it does not use are dropped. "auto" takes whichever has the larger AUROC on the tuning texts.

Sources: Welch 1947; Westfall & Young 1993 (family-wise p); Tibshirani 1996 (L1).
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from torch import Tensor

from common.errors import ConfigError
from common.evaluation.metrics import auroc
from common.evaluation.permutation import NullMaximum, family_wise_p
from common.evaluation.separation import layer_statistics
from common.saes.rates import settled_limit
from phase4_anomaly_detection.calibration import checked_labels
from phase4_anomaly_detection.config import DiscoveryConfig

ALPHA = 0.05
STRENGTHS = tuple(10.0 ** (k / 2) for k in range(-6, 5))  # C of the L1 regression: the inverse of its penalty
N_FOLDS = 5


@dataclass(frozen=True)
class Selection:
    """The chosen latents, largest t first. `counts` says how many latents passed each filter, and are significant."""

    latents: Int[np.ndarray, " k"]
    t: Float[np.ndarray, " k"]
    general_text_rate: Float[np.ndarray, " k"] | None
    counts: dict[str, int]


@dataclass(frozen=True)
class Weights:
    """One weight for each latent that is used; `kept` are their places among the selected ones.

    `auroc_tuning` has the AUROC of each rule that was tried.
    """

    rule: str
    kept: Int[np.ndarray, " k"]
    weights: Float[np.ndarray, " k"]
    auroc_tuning: dict[str, float]


class FeatureDiscovery:
    """Latents and weights from activations and labels of the texts that select."""

    def __init__(self, config: DiscoveryConfig | None = None):
        self.config = config or DiscoveryConfig()

    def select(
        self,
        latent_acts: Float[Tensor, "n d_sae"],
        incorrect: Bool[np.ndarray, " n"],
        general_text_rate: Float[np.ndarray, " d_sae"] | None = None,
        count_significant: bool = True,
    ) -> Selection:
        """The latents that stand for incorrect most.

        Raises: ConfigError when none is left, with the largest t and the filter that left none; without a baseline; for
        labels as `checked_labels` does.
        """
        incorrect = checked_labels(incorrect, len(latent_acts))
        config, pass_rate = self.config, (~incorrect).astype(np.float64)
        found = layer_statistics(latent_acts, pass_rate)
        general = self._passes_general_text(general_text_rate, len(found["t"]))
        t = np.nan_to_num(found["t"], nan=0.0)
        rises = general & (t > 0) & (t >= config.min_t)
        wanted, counts = rises, {"latents": len(t), "not general text": int(general.sum()), "t": int(rises.sum())}
        if count_significant or config.significance != "none":
            significant = self._significant(latent_acts, pass_rate, general, found)
            counts |= {f"significant, {rule}": int((rises & own).sum()) for rule, own in significant.items()}
            wanted = rises & significant[config.significance] if config.significance != "none" else rises
        chosen = np.flatnonzero(wanted)
        if not len(chosen):
            raise self._nothing_left(t, general, rises)
        order = np.lexsort((chosen, -t[chosen]))[: config.top_k]
        rates = None if general_text_rate is None else general_text_rate[chosen[order]]
        return Selection(chosen[order], _finite(t[chosen[order]]), rates, counts)

    def weigh(
        self,
        t: Float[np.ndarray, " k"],
        selecting: Float[np.ndarray, "n k"],
        incorrect: Bool[np.ndarray, " n"],
        tuning: Float[np.ndarray, "m k"],
        tuning_incorrect: Bool[np.ndarray, " m"],
    ) -> Weights:
        """Weights of the selected latents by their activations on the selecting and on the tuning texts.

        Raises: ConfigError where the rule uses no latent, and for labels as `checked_labels` does.
        """
        incorrect = checked_labels(incorrect, len(selecting))
        tuning_incorrect = checked_labels(tuning_incorrect, len(tuning))
        rules = ("t", "l1") if self.config.weights == "auto" else (self.config.weights,)
        tried = {rule: t / t.sum() if rule == "t" else self._l1(selecting, incorrect) for rule in rules}
        once = tuning_incorrect.astype(float), (~tuning_incorrect).astype(float)
        areas = {rule: float(auroc(tuning @ weights, *once)) for rule, weights in tried.items()}
        usable = [rule for rule in rules if tried[rule].any()]  # a strong enough penalty leaves l1 no latent
        if not usable:
            raise ConfigError(
                f"the L1 regression uses none of the {len(t)} selected latents: they do not tell incorrect texts from "
                f"correct ones\nGive --weights t, or more texts"
            )
        rule = max(usable, key=lambda name: areas[name])  # of two equal ones the first: t
        kept = np.flatnonzero(tried[rule])
        return Weights(rule, kept, tried[rule][kept], areas)

    def cross_validated_auroc(
        self, latent_acts: Float[Tensor, "n d_sae"], incorrect: Bool[np.ndarray, " n"], rates: np.ndarray | None
    ) -> float:
        """Mean AUROC over 5 folds of latents and t weights found on the other four; 1/2 for a fold without latents."""
        incorrect = checked_labels(incorrect, len(latent_acts))
        areas = []
        folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=self.config.seed)
        for own, held_out in folds.split(np.zeros(len(incorrect)), incorrect):
            try:
                found = self.select(latent_acts[own], incorrect[own], rates, count_significant=False)
            except ConfigError:
                areas.append(0.5)
                continue
            scores = latent_acts[held_out][:, found.latents].double().numpy() @ found.t
            positive = incorrect[held_out].astype(float)
            areas.append(float(auroc(scores, positive, 1 - positive)))
        return float(np.mean(areas))

    def _passes_general_text(self, rates: np.ndarray | None, n: int) -> Bool[np.ndarray, " d_sae"]:
        if rates is None and self.config.leaves_general_text_out:
            raise ConfigError(
                f"no firing rates on general text are given, and the limit is {self.config.general_text_limit}\n"
                f"Give those that common.saes.rates.firing_rates counts, or do without this filter: "
                f"--general-text-limit 1"
            )
        return (
            np.ones(n, dtype=bool) if rates is None else rates <= settled_limit(self.config.general_text_limit, rates)
        )

    def _significant(
        self, latent_acts: Tensor, pass_rate: np.ndarray, general: np.ndarray, found: dict[str, np.ndarray]
    ) -> dict[str, Bool[np.ndarray, " d_sae"]]:
        """Which latents are significant at a family-wise 0.05; the family: those of the layer that ever vary and are
        not general text."""
        null = NullMaximum(pass_rate, self.config.n_permutations, self.config.seed)
        null.add(latent_acts, general)
        p_max = family_wise_p(np.abs(np.nan_to_num(found["t"])), null.max_abs_t)
        return {
            "bonferroni": general & (found["p"] * max(null.n_latents, 1) <= ALPHA),
            "permutation": general & (p_max <= ALPHA),
        }

    def _nothing_left(self, t: np.ndarray, general: np.ndarray, rises: np.ndarray) -> ConfigError:
        config = self.config
        largest = f"the largest t is {t.max():.2f}"
        if not general.any():
            why = f"all {len(t)} fire on more than {config.general_text_limit} of general text"
            return ConfigError(f"no latent is left: {why}\nGive a larger --general-text-limit, or another --layer")
        largest += f", and {t[general].max():.2f} among the {general.sum()} that are not general text"
        if not rises.any():
            return ConfigError(
                f"no latent is left with t >= {config.min_t:g} (and above 0): {largest}\n"
                f"Give a smaller --min-t, or another --layer"
            )
        return ConfigError(
            f"no latent is left that is significant ({config.significance}, {ALPHA:g}): {largest}\n"
            f"Give more texts, or --significance none (the card says how many are significant)"
        )

    def _l1(self, x: Float[np.ndarray, "n k"], incorrect: Bool[np.ndarray, " n"]) -> Float[np.ndarray, " k"]:
        """Coefficients in the units of the activations; zero where the penalty made them so."""
        scale = x.std(axis=0)
        scale[scale == 0] = 1.0
        standard = (x - x.mean(axis=0)) / scale
        n_folds = min(N_FOLDS, int(incorrect.sum()), int((~incorrect).sum()))
        folds = StratifiedKFold(max(n_folds, 2), shuffle=True, random_state=self.config.seed)
        model = LogisticRegression(l1_ratio=1.0, solver="liblinear", max_iter=1000, random_state=self.config.seed)
        search = GridSearchCV(model, {"C": STRENGTHS}, scoring="roc_auc", cv=folds)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # a fit that is not finished has a lower AUROC
            search.fit(standard, incorrect)
        return search.best_estimator_.coef_[0].astype(np.float64) / scale


def _finite(t: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    """Groups that are constant, but differ, have an infinite t: it counts as the largest finite one, or as 1."""
    finite = t[np.isfinite(t)]
    return np.where(np.isfinite(t), t, finite.max(initial=1.0))


def contents(selection: Selection, weights: Weights) -> list[dict[str, Any]]:
    """The latents as detector.json lists them, without how often they fired."""
    found = []
    for place, weight in zip(weights.kept, weights.weights, strict=True):
        rate = None if selection.general_text_rate is None else float(selection.general_text_rate[place])
        latent, t = int(selection.latents[place]), float(selection.t[place])
        found.append({"latent": latent, "t": t, "weight": float(weight), "general_text_rate": rate})
    return found
