"""Documents of phase 3.1: how well the selected latents predict."""

import enum
import math
from dataclasses import dataclass

from common.handoffs.estimates import AurocInterval, Interval
from common.handoffs.score_verdicts import AgainstAlways, BeyondDifficulty, RankingPower, RankingVerdict, Stability
from common.handoffs.selected import LatentFacts

ALWAYS_POSITIVE = "always positive"
LOGISTIC_REGRESSION, DIFFERENCE_OF_MEANS = "logistic regression", "difference of means"  # of the latent's layer
PROBE = "full probe"  # logistic regression on the layer that cross-validation chose
PROMPT_LENGTH, DESCRIPTION_LENGTH, COMPLEXITY = "prompt length", "description length", "complexity"
OPERATIONS, RARITY = "operations", "rarity"  # of the organism's problems
PROMPT_TEXT, DESCRIPTION_TEXT = "text of the prompt", "text of the description"
MEAN_LOGPROB, SUMMED_LOGPROB = "mean log-probability", "summed log-probability"
LATENT = "latent"  # the name of the selected latent's score in predictions.parquet


@dataclass(frozen=True, kw_only=True)
class Card:
    """All metrics of `value > threshold`; `base_rate` is the share of positives."""

    threshold: float | None
    n: int
    n_positive: int
    base_rate: float | None
    f1: Interval
    precision: Interval
    recall: Interval
    specificity: Interval
    balanced_accuracy: Interval
    mcc: Interval
    auroc: AurocInterval
    average_precision: Interval


class Known(enum.StrEnum):
    """When a score is known: before the program is written, or only after."""

    BEFORE = "before"
    AFTER = "after"


@dataclass(frozen=True, kw_only=True)
class BaselineCard(Card):
    """`sign` turns the score towards the label. `C` and `converged` are those of a logistic regression, on `layer`."""

    sign: int | None = None
    C: float | None = None
    converged: bool | None = None
    layer: int | None = None


@dataclass(frozen=True, kw_only=True)
class AurocDifference:
    """AUROC of the latent less that of a baseline, paired, and when the baseline is known."""

    auroc: Interval
    known: Known


@dataclass(frozen=True, kw_only=True)
class AmongRandom:
    """Where a direction stands among random latents of its layer; rank 1 is above all."""

    median: float | None
    q05: float | None
    q95: float | None
    rank: int | None


@dataclass(frozen=True, kw_only=True)
class RandomLatents:
    n: int
    auroc: AmongRandom
    f1: AmongRandom


@dataclass(frozen=True, kw_only=True)
class OfStratum:
    stratum: str
    n: int
    n_positive: int
    auroc: Interval
    f1: Interval


@dataclass(frozen=True, kw_only=True)
class AtTemperature:
    temperature: float
    n_problems: int
    n_programs: int
    base_rate: float | None
    auroc: Interval
    f1: Interval


@dataclass(frozen=True, kw_only=True)
class ReliabilityGroup:
    """Programs of like probability: what was predicted, and what was observed."""

    predicted: float
    observed: Interval
    n: int


@dataclass(frozen=True, kw_only=True)
class Reliability:
    brier: float
    groups: list[ReliabilityGroup]


@dataclass(frozen=True, kw_only=True)
class DetectedDirection:
    """One direction judged on validation, beside its baselines by name.

    Strata are exact: pairs are compared where complexity, or the quantity that `auroc_within` names, is the same.
    """

    latent: LatentFacts
    positive: str
    verdict: RankingVerdict
    card: Card
    baselines: dict[str, BaselineCard]
    random_latents: RandomLatents
    auroc_within_strata: Interval
    auroc_within: dict[str, Interval]
    strata: list[OfStratum]
    temperatures: list[AtTemperature]
    calibration: Reliability
    against_always: AgainstAlways
    differences: dict[str, AurocDifference]
    beyond_difficulty: BeyondDifficulty
    probe_beyond_difficulty: BeyondDifficulty | None
    stability: Stability
    power: RankingPower


@dataclass(frozen=True, kw_only=True)
class ProbeLayers:
    """The layer whose probe has the best cross-validated AUROC on the sae split, and that of each layer."""

    layer: int
    cross_validated_auroc: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class DetectionDocument:
    """detection.json."""

    experiment: dict[str, str]
    n: dict[str, int]
    left_out: dict[str, dict[str, int]]
    seed: int
    n_resamples: int
    resamples: str
    readings: int
    baselines: dict[str, str]
    baselines_left_out: list[str]
    directions: dict[str, DetectedDirection]
    probes: ProbeLayers

    @property
    def headline(self) -> tuple[str, DetectedDirection] | None:
        """Name and entry of the predicting direction with the larger |t| on the sae split; None where there is none.

        Never the one that does better on validation: that would be a choice by what is to be reported.
        """
        latents = {name: entry.latent for name, entry in self.predicting.items()}
        strength = {name: math.inf if latent.t is None else abs(latent.t) for name, latent in latents.items()}
        name = max(strength, key=strength.__getitem__, default=None)
        return None if name is None else (name, self.predicting[name])

    @property
    def predicting(self) -> dict[str, DetectedDirection]:
        """The directions that were selected to predict, and not to steer."""
        return {name: entry for name, entry in self.directions.items() if name.startswith("predict")}
