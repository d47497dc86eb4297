"""The document of phase 4.1: a detector with its card. Its folder stands alone: phase 4 reads it without this."""

from dataclasses import dataclass
from typing import Any

from common.handoffs.detection import BaselineCard, Card, ReliabilityGroup
from common.handoffs.estimates import Interval
from common.handoffs.score_verdicts import RankingPower, RankingVerdict

PROMPTS, PROGRAMS, TEXTS = "prompts", "programs", "texts"  # what a detector reads; texts are of a file


@dataclass(frozen=True, kw_only=True)
class DetectorModel:
    name: str
    identity: str
    prompt: str
    quantisation: str = ""
    revision: str | None
    dtype: str | None


@dataclass(frozen=True, kw_only=True)
class DetectorSae:
    id: str
    identity: str
    revision: str | None


@dataclass(frozen=True, kw_only=True)
class DetectorLatent:
    """`n_fired` of `n` texts of the validation split make it fire."""

    latent: int
    t: float | None
    weight: float
    general_text_rate: float | None
    n_fired: int
    n: int


@dataclass(frozen=True, kw_only=True)
class ChosenTarget:
    """What the threshold reached on the texts for tuning; `low` is the lower bound by which a precision is reached."""

    kind: str
    wanted: float
    value: float | None
    n: int
    reached: bool
    low: float | None


@dataclass(frozen=True, kw_only=True)
class TargetOutcome:
    """The target's metric on the texts that judge, `count` of `of`, and in words whether it was met."""

    kind: str
    wanted: float
    count: int
    of: int
    value: float | None
    low: float | None
    high: float | None
    met: str

    @property
    def interval(self) -> Interval:
        return Interval(self.value, self.low, self.high)


@dataclass(frozen=True, kw_only=True)
class ByChance:
    median: float
    q95: float


@dataclass(frozen=True, kw_only=True)
class CalibrationError:
    ece: float
    ece_by_chance: ByChance
    brier: float
    brier_of_base_rate: float
    groups: list[ReliabilityGroup]


@dataclass(frozen=True, kw_only=True)
class Route:
    n: int
    share: float
    error_rate: Interval


@dataclass(frozen=True, kw_only=True)
class FittedPopulation:
    """The kind of text that a detector was fitted on: `n` texts, and how many answered a question of form with yes.

    `tail` may follow the marker.
    """

    read: str
    marker: str
    tail: str = ""
    n: int
    ends_in_marker: int
    holds_marker: int
    holds_definition: int


@dataclass(frozen=True, kw_only=True)
class OnPopulation:
    """A kind of text of the validation split: on how many their form makes it abstain, and what its score is worth."""

    n: int
    n_abstained: int
    auroc: Interval


@dataclass(frozen=True, kw_only=True)
class OperatingPoint:
    """The flagged texts on validation. A random score that flags as many has a precision of the base rate, and a recall
    of the flag rate: the differences are paired.
    """

    base_rate: float
    flag_rate: Interval
    precision: Interval
    recall: Interval
    precision_minus_base_rate: Interval
    recall_minus_flag_rate: Interval


@dataclass(frozen=True, kw_only=True)
class DetectorCard:
    """`auroc_minus` has the paired differences to the baselines, `known_after` those that only a program tells."""

    n: dict[str, int]
    detector: Card
    baselines: dict[str, BaselineCard]
    baselines_left_out: list[str]
    left_out: dict[str, dict[str, int]]
    calibration: CalibrationError
    target: TargetOutcome
    routes: dict[str, Route]
    n_resamples: int
    readings: int
    populations: dict[str, OnPopulation]
    operating_point: OperatingPoint
    auroc_minus: dict[str, Interval]
    known_after: list[str]
    power: RankingPower


@dataclass(frozen=True, kw_only=True)
class DetectorDocument:
    """detector.json."""

    schema_version: int
    model: DetectorModel
    sae: DetectorSae
    layer: int
    site: str
    text: str
    population: FittedPopulation
    latents: list[DetectorLatent]
    weights_rule: str
    selection: dict[str, Any]
    seed: int
    calibration: dict[str, Any]
    threshold: float
    target: ChosenTarget
    abstain: dict[str, float] | None
    levels: list[float]
    settings: dict[str, Any]
    layers_tried: dict[str, float]
    experiment: dict[str, str]
    card: DetectorCard
    verdict: RankingVerdict
    latents_sha256: str
    sha256_of_all_other_entries: str
