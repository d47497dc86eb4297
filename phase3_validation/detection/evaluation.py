"""One direction judged: thresholds on `hyperparams`, everything else on `validation`.

Takes arrays and gives plain numbers; reads and writes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from common.evaluation import differences, metrics, score_verdicts, strata
from common.evaluation.bootstrap import draws_by_label
from common.evaluation.calibration import reliability
from common.evaluation.cards import evaluation_card
from common.evaluation.differences import Resampled
from common.evaluation.difficulty import beyond_difficulty
from common.handoffs.detection import (
    ALWAYS_POSITIVE,
    PROBE,
    AmongRandom,
    AtTemperature,
    AurocDifference,
    BaselineCard,
    Card,
    DetectedDirection,
    RandomLatents,
)
from common.handoffs.estimates import AurocInterval, Interval
from common.handoffs.score_verdicts import BeyondDifficulty, Stability
from common.handoffs.selected import LatentFacts
from common.programs.judged_problems import JudgedProblems, Samples
from phase3_validation.detection.scores import BASELINES, COVARIATES, OF_THE_PROBLEM, Score


@dataclass(frozen=True)
class Scored:
    """A score on the two splits, and the threshold that `hyperparams` gave it."""

    score: Score
    tuned: Float[np.ndarray, " m"]
    values: Float[np.ndarray, " n"]
    threshold: float | None


@dataclass(frozen=True)
class Judging:
    """What a direction is judged by: its latent, the baselines beside it, random latents, and other draws."""

    latent: Scored
    baselines: Sequence[Scored]
    random: Sequence[Scored]
    stability: Stability


class Evaluation:
    """What all directions share: the problems of the two splits, their strata, the resamples, the samples."""

    def __init__(self, problems: JudgedProblems, samples: Samples, n_resamples: int, seed: int):
        self.problems, self.samples = problems, samples
        self.n_resamples, self.seed = n_resamples, seed
        self.tuning, self.judging = (problems.split == split for split in ("hyperparams", "validation"))
        self.draws = draws_by_label(problems.incorrect[self.judging], n_resamples, seed)
        complexities, self.stratum = np.unique(problems.complexity, return_inverse=True)
        self.stratum_names = [f"complexity {complexity}" for complexity in complexities]

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

    def direction(self, facts: LatentFacts, label: str, judging: Judging) -> DetectedDirection:
        """The entry of a direction in detection.json; `facts` name its latent."""
        latent, baselines, positive = judging.latent, judging.baselines, self.positive(label)
        own = differences.ranked(latent.values, positive, self.draws)
        card = evaluation_card(latent.values, positive, latent.threshold, self.draws, own)
        beside = {each.score.name: differences.ranked(each.values, positive, self.draws) for each in baselines}
        among, n_positive = among_random(card, judging.random, positive), int(positive.sum())
        predicted = metrics.predicted_positive(latent.values, latent.threshold)
        scores = {each.score.name: each.score for each in baselines}
        return DetectedDirection(
            latent=facts,
            positive=label,
            verdict=score_verdicts.ranking(card.auroc, among.auroc.q95),
            card=card,
            baselines={
                each.score.name: self._card_of_baseline(each, positive, beside[each.score.name]) for each in baselines
            },
            random_latents=among,
            **self._within(latent, baselines, positive),
            temperatures=self._by_temperature(latent, label),
            calibration=reliability(latent.tuned, self.problems.positive(label)[self.tuning], latent.values, positive),
            against_always=score_verdicts.against_always(predicted, positive, self.draws),
            differences=_differences(own, beside),
            beyond_difficulty=self._beyond(latent.score, scores, label),
            probe_beyond_difficulty=self._beyond(scores[PROBE], scores, label) if PROBE in scores else None,
            stability=judging.stability,
            power=score_verdicts.ranking_power(n_positive, len(positive) - n_positive, among.auroc.q95),
        )

    def _within(self, latent: Scored, baselines: Sequence[Scored], positive: np.ndarray) -> dict[str, Any]:
        """AUROC inside exact strata of complexity and of every quantity of the problem; and each stratum's own."""
        stratum = self.stratum[self.judging]
        measured = {each.score.name: each.values for each in baselines if each.score.name in OF_THE_PROBLEM}
        within = {
            name: strata.auroc_within(latent.values, positive, np.unique(values, return_inverse=True)[1], self.draws)
            for name, values in measured.items()
        }
        there = np.unique(stratum)
        place = np.searchsorted(there, stratum)
        names = [self.stratum_names[number] for number in there]
        return {
            "auroc_within_strata": strata.auroc_within(latent.values, positive, stratum, self.draws),
            "auroc_within": within,
            "strata": strata.by_stratum(latent.values, positive, latent.threshold, place, names, self.draws),
        }

    def _beyond(self, score: Score, scores: dict[str, Score], label: str) -> BeyondDifficulty:
        """What a score adds to the covariates among `scores`."""
        covariates = {name: scores[name].unseen for name in COVARIATES if name in scores}
        positive = self.problems.positive(label)
        return beyond_difficulty(covariates, score.unseen, positive, ~self.judging, self.judging, self.draws)

    def _card_of_baseline(self, scored: Scored, positive: np.ndarray, ranked: dict[str, Resampled]) -> BaselineCard:
        card = evaluation_card(scored.values, positive, scored.threshold, self.draws, ranked)
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
        by_temperature = []
        for temperature, (right, wrong) in counts.items():
            some = right + wrong > 0
            by_temperature.append(
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
        return by_temperature


def _differences(own: dict[str, Resampled], beside: dict[str, dict[str, Resampled]]) -> dict[str, AurocDifference]:
    """The latent's AUROC less that of each baseline that tells problems apart."""
    return {
        name: AurocDifference(auroc=own["auroc"].minus(other["auroc"]), known=BASELINES[name].known)
        for name, other in beside.items()
        if name != ALWAYS_POSITIVE
    }


def among_random(card: Card, random: Sequence[Scored], positive: np.ndarray) -> RandomLatents:
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


def _summary(areas: np.ndarray, own: Interval | AurocInterval) -> AmongRandom:
    if not len(areas):
        return AmongRandom(median=None, q05=None, q95=None, rank=None)
    q05, median, q95 = np.quantile(areas, [0.05, 0.5, 0.95]).tolist()
    return AmongRandom(median=median, q05=q05, q95=q95, rank=1 + int((areas >= own.value).sum()))
