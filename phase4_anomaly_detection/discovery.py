"""Which latents of a layer a detector adds up, and with which weights.

    found = FeatureDiscovery(DiscoveryConfig()).find(latent_acts, incorrect, general_text_rate)

1. Latents that fire on general text, and those that are the same on all texts, are left out before anything is ranked.
2. `--rule probe`: of the rest the k with the largest |t| (Welch, incorrect against correct, zeros included), of either
   sign: a latent that fires on what passes tells as much as one that fires on what fails. A logistic regression with an
   L2 penalty weighs them; its weights are brought back to the SAE's units. k (1, 2, 4 ... 128, at most `top_k`) and
   penalty are those of the best mean AUROC over 5 folds, in each of which latents, scale and weights are found anew
   (common/evaluation/sparse_probing.py).
3. `--rule ace`, for comparison: latents with t >= 2 that fire on at most 2 % of general text, of these the 100 with the
   largest t (at most `top_k`), each weighed by its share of the sum of t.
4. Of several layers the one whose best mean AUROC is largest. Around all that stand 5 outer folds (`judge`): each text
   is scored by what was found, layer included, without its fold. That is what the whole procedure is worth.

Sources: Welch 1947; Gurnee et al. 2023, arXiv:2305.01610; Westfall & Young 1993 (family-wise p).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from torch import Tensor

from common.errors import ConfigError
from common.evaluation.metrics import auroc
from common.evaluation.permutation import NullMaximum, family_wise_p
from common.evaluation.separation import layer_statistics
from common.evaluation.sparse_probing import Grid, auroc_over_folds, chosen, fold_of, nested, t_without_fold
from common.evaluation.statistics import ALPHA
from common.handoffs.estimates import Interval
from common.saes.rates import settled_limit
from phase4_anomaly_detection.calibration import checked_labels
from phase4_anomaly_detection.config import DiscoveryConfig

KS = (1, 2, 4, 8, 16, 32, 64, 128)
ACE_MIN_T, ACE_TOP_K, ACE_GENERAL_TEXT_LIMIT = 2.0, 100, 0.02


@dataclass(frozen=True)
class Found:
    """The latents of a detector, largest |t| first, each with its weight.

    `counts` says how many latents passed each filter. `auroc` is the mean over the folds that chose k and `strength`,
    the penalty's inverse (None for ACE's rule); where much was tried it flatters.
    """

    latents: Int[np.ndarray, " k"]
    t: Float[np.ndarray, " k"]
    weights: Float[np.ndarray, " k"]
    general_text_rate: Float[np.ndarray, " k"] | None
    counts: dict[str, int]
    auroc: float
    strength: float | None


@dataclass(frozen=True)
class OutOfFold:
    """A layer's scores of texts by what was found without their fold, and the AUROC that each such finding had inside
    the other folds: by it layers are compared."""

    fold: Int[np.ndarray, " n"]
    scores: Float[np.ndarray, " n"]
    inner: Float[np.ndarray, " n_folds"]


def auroc_of_best_layer(judged: Mapping[int, OutOfFold], incorrect: Bool[np.ndarray, " n"]) -> Interval:
    """AUROC of the whole procedure, the layer chosen inside each outer fold, with DeLong's interval."""
    layers = list(judged.values())
    best, fold = np.array([layer.inner for layer in layers]).argmax(axis=0), layers[0].fold
    scores = np.array([layer.scores for layer in layers])[best[fold], np.arange(len(fold))]
    return auroc_over_folds(scores, incorrect, fold)


class FeatureDiscovery:
    """Latents and weights from activations and labels of the texts that select."""

    def __init__(self, config: DiscoveryConfig | None = None):
        self.config = config or DiscoveryConfig()

    def find(
        self,
        latent_acts: Float[Tensor, "n d_sae"],
        incorrect: Bool[np.ndarray, " n"],
        general_text_rate: Float[np.ndarray, " d_sae"] | None = None,
    ) -> Found:
        """The latents that tell incorrect texts from correct ones, and their weights.

        Raises: ConfigError when no latent is left, with the filter that left none; without a baseline; for fewer than 5
        texts of a label; for labels as `checked_labels` does.
        """
        incorrect = checked_labels(incorrect, len(latent_acts))
        usable, counts = self._usable(latent_acts, general_text_rate)
        x = latent_acts[:, usable].numpy()
        t = np.nan_to_num(layer_statistics(latent_acts, (~incorrect).astype(np.float64))["t"], nan=0.0)
        if self.config.rule == "ace":
            columns, weights = self._ace_weights(t[usable])
            area, strength = float(np.mean(self._ace_out_of_fold(x, incorrect)[1])), None
            if not len(columns):
                raise _no_rising_latent(t[usable])
        else:
            probe, area = chosen(x, incorrect, self._grid(x.shape[1]))
            columns, weights, strength = probe.latents, probe.weights / probe.scale, probe.strength
        latents = usable[columns]
        rates = None if general_text_rate is None else general_text_rate[latents]
        return Found(latents, _finite(t[latents]), weights, rates, counts, area, strength)

    def judge(
        self,
        latent_acts: Float[Tensor, "n d_sae"],
        incorrect: Bool[np.ndarray, " n"],
        general_text_rate: Float[np.ndarray, " d_sae"] | None = None,
    ) -> OutOfFold:
        """What `find` is worth on texts that it has not seen. Raises: as `find`."""
        incorrect = checked_labels(incorrect, len(latent_acts))
        x = latent_acts[:, self._usable(latent_acts, general_text_rate)[0]].numpy()
        if self.config.rule != "ace":
            probed = nested(x, incorrect, self._grid(x.shape[1]))
            return OutOfFold(probed.fold, probed.of_best_k(), probed.inner.max(axis=1))
        fold = fold_of(incorrect, self.config.seed)
        not_in_fold = [fold != place for place in range(fold.max() + 1)]
        inner = [np.mean(self._ace_out_of_fold(x[rows], incorrect[rows])[1]) for rows in not_in_fold]
        return OutOfFold(fold, self._ace_out_of_fold(x, incorrect)[0], np.array(inner))

    def count_significant(
        self, latent_acts: Tensor, incorrect: np.ndarray, general_text_rate: np.ndarray | None = None
    ) -> int:
        """Latents that are significant at a family-wise 0.05; the family: those that `find` may choose."""
        incorrect = checked_labels(incorrect, len(latent_acts))
        usable, pass_rate = self._usable(latent_acts, general_text_rate)[0], (~incorrect).astype(np.float64)
        family = np.zeros(latent_acts.shape[1], dtype=bool)
        family[usable] = True
        null = NullMaximum(pass_rate, self.config.n_permutations, self.config.seed)
        null.add(latent_acts, family)
        t = np.abs(np.nan_to_num(layer_statistics(latent_acts, pass_rate)["t"]))
        return int((family & (family_wise_p(t, null.max_abs_t) <= ALPHA)).sum())

    def _usable(self, latent_acts: Tensor, rates: np.ndarray | None) -> tuple[Int[np.ndarray, " m"], dict[str, int]]:
        """Numbers of the latents that may be added up, and how many are left after each filter."""
        general = self._passes_general_text(rates, latent_acts.shape[1])
        if self.config.rule == "ace":
            if rates is None:
                raise ConfigError(
                    f"--rule ace leaves out latents that fire on more than {ACE_GENERAL_TEXT_LIMIT:g} of general text, "
                    f"and no rates are given\nLeave out --general-text-limit, or --rule"
                )
            general = rates <= ACE_GENERAL_TEXT_LIMIT
        varies = (latent_acts.amax(dim=0) > latent_acts.amin(dim=0)).numpy()
        counts = {"latents": len(general), "not general text": int(general.sum())}
        counts["of these not the same on all texts"] = int((general & varies).sum())
        if not general.any():
            why = f"all {len(general)} fire on more than {self.config.general_text_limit} of general text"
            raise ConfigError(f"no latent is left: {why}\nGive a larger --general-text-limit, or another --layer")
        if not (general & varies).any():
            why = f"the {general.sum()} that are not general text are the same on all texts"
            raise ConfigError(f"no latent is left: {why}\nGive a larger --general-text-limit, or another --layer")
        return np.flatnonzero(general & varies), counts

    def _passes_general_text(self, rates: np.ndarray | None, n: int) -> Bool[np.ndarray, " d_sae"]:
        if rates is None and self.config.leaves_general_text_out:
            raise ConfigError(
                f"no firing rates on general text are given, and the limit is {self.config.general_text_limit}\n"
                f"Give those that common.saes.rates.firing_rates counts, or do without this filter: "
                f"--general-text-limit 1"
            )
        if rates is None:
            return np.ones(n, dtype=bool)
        return rates <= settled_limit(self.config.general_text_limit, rates)

    def _grid(self, n_latents: int) -> Grid:
        most = min(self.config.top_k, n_latents)
        return Grid(tuple(k for k in KS if k <= most), seed=self.config.seed)

    def _ace_weights(self, t: Float[np.ndarray, " d"]) -> tuple[Int[np.ndarray, " k"], Float[np.ndarray, " k"]]:
        """Columns, largest t first, and their shares of the sum of t; none where no t is large enough."""
        order = np.argsort(-t, kind="stable")[: min(self.config.top_k, ACE_TOP_K)]
        columns = order[t[order] >= ACE_MIN_T]
        return columns, _finite(t[columns]) / _finite(t[columns]).sum() if len(columns) else t[columns]

    def _ace_out_of_fold(self, x: np.ndarray, incorrect: np.ndarray) -> tuple[np.ndarray, list[float]]:
        """Scores by ACE's rule, found without each text's fold, and the AUROC in each fold."""
        fold, areas = fold_of(incorrect, self.config.seed), []
        scores = np.zeros(len(x))
        for place, t in enumerate(t_without_fold(x, incorrect, fold)):
            held_out, (columns, weights) = fold == place, self._ace_weights(t)
            scores[held_out] = x[held_out][:, columns].astype(np.float64) @ weights
            positive = incorrect[held_out].astype(float)
            areas.append(float(auroc(scores[held_out], positive, 1 - positive)))
        return scores, areas


def _no_rising_latent(t: np.ndarray) -> ConfigError:
    return ConfigError(
        f"no latent is left with t >= {ACE_MIN_T:g}: the largest t is {t.max():.2f}\n"
        f"Leave out --rule ace, or give another --layer"
    )


def _finite(t: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
    """Groups that are constant, but differ, have an infinite t: it counts as the largest finite one, or as 1."""
    finite = np.abs(t[np.isfinite(t)])
    return np.where(np.isfinite(t), t, np.sign(t) * finite.max(initial=1.0))


def contents(latents: Found) -> list[dict[str, Any]]:
    """The latents as detector.json lists them, without how often they fired."""
    rates = [None] * len(latents.latents) if latents.general_text_rate is None else latents.general_text_rate.tolist()
    rows = zip(latents.latents.tolist(), latents.t.tolist(), latents.weights.tolist(), rates, strict=True)
    return [{"latent": latent, "t": t, "weight": weight, "general_text_rate": rate} for latent, t, weight, rate in rows]
