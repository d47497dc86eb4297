"""One direction judged: thresholds on `hyperparams`, everything else on `validation`.

Takes arrays and gives plain numbers; reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from common.evaluation import metrics, strata
from common.evaluation.bootstrap import draws_by_label
from common.evaluation.calibration import reliability
from common.evaluation.cards import evaluation_card, verdict
from common.handoffs.detection import (
    ALWAYS_POSITIVE,
    AmongRandom,
    AtTemperature,
    BaselineCard,
    Card,
    DetectedDirection,
    RandomLatents,
)
from common.handoffs.estimates import AurocInterval, Interval
from common.handoffs.selected import LatentFacts
from common.programs.labels import JudgedProblems, Samples
from phase3_validation.detection.scores import OF_THE_PROBLEM, Score


@dataclass(frozen=True)
class Scored:
    """A score on the two splits, and the threshold that `hyperparams` gave it."""

    score: Score
    tuned: Float[np.ndarray, " m"]
    values: Float[np.ndarray, " n"]
    threshold: float | None


class Evaluation:
    """What all directions share: the problems of the two splits, their strata, the resamples, the samples."""

    def __init__(self, problems: JudgedProblems, samples: Samples, n_resamples: int, seed: int):
        self.problems, self.samples = problems, samples
        self.n_resamples, self.seed = n_resamples, seed
        self.tuning, self.judging = (problems.split == split for split in ("hyperparams", "validation"))
        self.draws = draws_by_label(problems.incorrect[self.judging], n_resamples, seed)
        bounds = strata.upper_bounds(problems.complexity[self.judging])
        self.stratum_names = strata.complexity_names(bounds)
        self.stratum = strata.stratum_of(problems.complexity, bounds)

    def positive(self, label: str) -> Bool[np.ndarray, " n"]:
        """Which validation problems have the label."""
        return self.problems.positive(label)[self.judging]

    def scored(self, score: Score, label: str) -> Scored:
        """A score, larger for `label`, with its threshold. That of always positive is its definition."""
        tuned, values = score.values[self.tuning], score.values[self.judging]
        if score.name == ALWAYS_POSITIVE:
            return Scored(score, tuned, values, 0.0)
        target = self.problems.positive(label)[self.tuning].astype(float)
        return Scored(score, tuned, values, metrics.best_threshold(tuned, target))

    def direction(
        self, facts: LatentFacts, label: str, latent: Scored, baselines: Sequence[Scored], random: Sequence[Scored]
    ) -> DetectedDirection:
        """The entry of a direction in detection.json; `facts` name its latent."""
        positive = self.positive(label)
        card = evaluation_card(latent.values, positive, latent.threshold, self.draws)
        within = {
            scored.score.name: strata.auroc_within(latent.values, positive, _strata_of(scored), self.draws)
            for scored in baselines
            if scored.score.name in OF_THE_PROBLEM
        }
        stratum, among = self.stratum[self.judging], _among_random(card, random, positive)
        return DetectedDirection(
            latent=facts,
            positive=label,
            verdict=verdict(card, label, among.auroc.q95),
            card=card,
            baselines={scored.score.name: self._card_of_baseline(scored, positive) for scored in baselines},
            random_latents=among,
            auroc_within_strata=strata.auroc_within(latent.values, positive, stratum, self.draws),
            auroc_within=within,
            strata=strata.by_stratum(
                latent.values, positive, latent.threshold, stratum, self.stratum_names, self.draws
            ),
            temperatures=self._by_temperature(latent, label),
            calibration=reliability(latent.tuned, self.problems.positive(label)[self.tuning], latent.values, positive),
        )

    def _card_of_baseline(self, scored: Scored, positive: np.ndarray) -> BaselineCard:
        card = evaluation_card(scored.values, positive, scored.threshold, self.draws)
        return BaselineCard(**vars(card), sign=scored.score.sign, **scored.score.facts)

    def _by_temperature(self, latent: Scored, label: str) -> list[AtTemperature]:
        """The greedy programs first, as temperature 0; nothing where phase 1.2 has not run."""
        if not self.samples.by_temperature:
            return []
        positive = self.positive(label).astype(float)
        row_of = {task_id: row for row, task_id in enumerate(np.array(self.problems.task_ids)[self.judging].tolist())}
        counts = {0.0: (positive, 1 - positive)}
        for temperature, programs in self.samples.by_temperature.items():
            counts[temperature] = np.zeros(len(row_of)), np.zeros(len(row_of))
            for program in programs:
                counts[temperature][int(program["label"] != label)][row_of[program["task_id"]]] += 1
        found = []
        for temperature, (right, wrong) in counts.items():
            some = right + wrong > 0
            found.append(
                strata.at_temperature(
                    temperature,
                    latent.values[some],
                    right[some],
                    wrong[some],
                    latent.threshold,
                    self.n_resamples,
                    self.seed,
                )
            )
        return found


def _strata_of(scored: Scored) -> np.ndarray:
    """Strata of the quantity as it was measured, whichever way the score was turned."""
    measured = scored.score.sign * scored.values
    return strata.stratum_of(measured, strata.upper_bounds(measured))


def _among_random(card: Card, random: Sequence[Scored], positive: np.ndarray) -> RandomLatents:
    """Where the direction stands among random latents: rank 1 is above all; one that equals it counts as above it."""
    once = positive.astype(float), (~positive).astype(float)
    areas = np.array([metrics.auroc(scored.values, *once) for scored in random])
    f1s = np.array(
        [
            metrics.at_threshold(metrics.predicted_positive(scored.values, scored.threshold), *once)["f1"]
            for scored in random
        ]
    )
    return RandomLatents(n=len(random), auroc=_summary(areas, card.auroc), f1=_summary(f1s, card.f1))


def _summary(found: np.ndarray, own: Interval | AurocInterval) -> AmongRandom:
    if not len(found):
        return AmongRandom(median=None, q05=None, q95=None, rank=None)
    q05, median, q95 = np.quantile(found, [0.05, 0.5, 0.95]).tolist()
    return AmongRandom(median=median, q05=q05, q95=q95, rank=1 + int((found >= own.value).sum()))
