"""Documents of phases 3.2 and 3.3: the dose that was chosen, what it did, and what its controls did."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from common.handoffs.document import Worded
from common.handoffs.estimates import Counted, Interval
from common.handoffs.selected import LatentFacts

RAISE, LOWER = "raise", "lower"  # what a direction is wanted to do to the pass rate
MEAN_DIFFERENCE, PROBE = FITTED = ("mean_difference", "probe")  # directions that are fitted to the whole stream
MATCHED_LATENT, RANDOM_DIRECTION = "matched_latent", "random_direction"  # kinds of controls
MIN_CONTROLS = 19  # of each kind; with fewer, to be first among them has a p above 1 / 20
MATCH_LIMIT = 1.5  # by which factor a control may differ from the direction before that is said
DEGENERATE_LIMIT = 0.05  # share of newly degenerate outputs from which on a change may be nothing else


class Change(enum.StrEnum):
    """What may be said of the change of the pass rate."""

    RAISES = "raises the pass rate"
    LOWERS = "lowers the pass rate"
    RAISES_WITHOUT_CONTROLS = "raises the pass rate (without controls)"
    LOWERS_WITHOUT_CONTROLS = "lowers the pass rate (without controls)"
    NO_MORE = "changes the pass rate, but no more than its controls"
    UNWANTED = "changes the pass rate, but against what was wanted"
    BEYOND_ITS_FEW = "changes the pass rate beyond all of its controls"
    NOTHING = "no measurable effect"
    CANNOT_TELL = "cannot tell"
    UNUSABLE = "cannot be steered"


_BREAKS = "breaks the output; "
_FEW = f"; fewer than {MIN_CONTROLS} controls of a kind"


@dataclass(frozen=True)
class SteeringVerdict(Worded):
    """The change; whether the output `breaks` besides. Its words stand in the document.

    `why` tells why it is unusable, or what would have been found where nothing can be told; `few`: of some kind of
    controls there were fewer than are needed to say more.
    """

    change: Change
    breaks: bool = False
    why: str = ""
    few: bool = False

    @property
    def works(self) -> bool:
        """Whether it changes the pass rate as wanted, beyond all controls, and leaves programs whole."""
        return self.change in (Change.RAISES, Change.LOWERS) and not self.breaks

    def __str__(self) -> str:
        why = f": {self.why}" if self.change is Change.UNUSABLE else f" ({self.why})"
        return f"{_BREAKS * self.breaks}{self.change}{why if self.why else ''}{_FEW * self.few}"

    @classmethod
    def from_words(cls, words: str) -> SteeringVerdict:
        breaks, few = words.startswith(_BREAKS), words.endswith(_FEW)
        change, why = words.removeprefix(_BREAKS).removesuffix(_FEW), ""
        if change.startswith(f"{Change.UNUSABLE}: "):
            change, _, why = change.partition(": ")
        elif change.startswith(f"{Change.CANNOT_TELL} ("):
            change, _, why = change.removesuffix(")").partition(" (")
        return cls(Change(change), breaks, why, few)


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Unsteered programs that are those of phase 1, token for token."""

    same_tokens: int
    of: int


@dataclass(frozen=True, kw_only=True)
class Effect:
    """What a change did to the programs of the same problems; `left_out` pairs could not be judged.

    `trajectory_kl` is the disturbance [nats per token], mean over problems: see common/interventions/trajectory_kl.py.
    """

    n: int
    left_out: int
    correction: Counted
    corruption: Counted
    preservation: Counted
    net_change: Interval
    pass_rate: Interval
    degenerate_rate: float | None
    newly_degenerate: Counted
    trajectory_kl: float | None
    net_change_per_nat: float | None

    @property
    def breaks(self) -> bool:
        """Whether so many outputs are newly degenerate that a change of the pass rate may be nothing else."""
        newly = self.newly_degenerate.rate.value
        return newly is not None and newly >= DEGENERATE_LIMIT


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """What one coefficient does at one layer."""

    layer: int
    coefficient: float
    n: int
    pass_rate: Interval
    n_corrected: int
    n_corrupted: int
    net_change: Interval
    degenerate_rate: float | None
    newly_degenerate_rate: float | None
    trajectory_kl: float | None
    admissible: bool


@dataclass(frozen=True, kw_only=True)
class LayerAndCoefficient:
    """Where, and how much of it."""

    layer: int
    coefficient: float


@dataclass(frozen=True, kw_only=True)
class FittedFacts:
    """A fitted direction: its layer, and the cosine of its angle with each selected latent that is steered there."""

    layer: int
    cosines: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class CoefficientCurve:
    """The curve of one direction, and the point that was chosen; None where every one breaks the output.

    `latent` of a fitted direction is the selected latent of its layer, whose controls it shares.
    """

    latent: LatentFacts
    wanted: str
    site: str
    norms: dict[str, float]
    curve: list[CurvePoint]
    chosen: LayerAndCoefficient | None
    why: str


@dataclass(frozen=True, kw_only=True)
class CoefficientsDocument:
    """coefficients.json."""

    experiment: dict[str, str]
    split: str
    n: int
    baseline: Interval
    agrees_with_phase_1: Agreement
    degenerate_limit: float
    steer: str
    directions: dict[str, CoefficientCurve]
    fitted: dict[str, FittedFacts]


@dataclass(frozen=True, kw_only=True)
class Match:
    """How alike controls are to the direction's latent, by quantity: its own, and theirs in the order of `each`.

    `worst` is the largest factor between a control's and its own, `n_worse` how many differ by more than `limit` in
    some quantity. None for a quantity where one of the two is not above zero.
    """

    own: dict[str, float]
    each: dict[str, list[float]]
    worst: dict[str, float | None]
    n_worse: int
    limit: float


@dataclass(frozen=True, kw_only=True)
class ControlEffect:
    """One control: a latent, or the number of a random direction; `coefficient` has the sign that is better for it."""

    index: int
    net_change: float | None
    n_corrected: int
    n_corrupted: int
    degenerate_rate: float | None
    trajectory_kl: float | None
    coefficient: float | None = None
    net_change_per_nat: float | None = None


@dataclass(frozen=True, kw_only=True)
class AgainstControls:
    """A direction against one kind of controls: its rank among them, which decides, and their programs pooled.

    The interval of `pooled` resamples problems and controls. Fisher's and the binomial p are description: they take the
    controls' programs for independent, which they are not.
    """

    n: int
    pooled: Counted
    fisher_p: float | None
    binomial_p: float | None
    rank: int | None
    rank_p: float | None
    each: list[ControlEffect]
    match: Match | None = None

    @property
    def n_ranked(self) -> int:
        """Controls of which a program could be judged: the others stand in no rank."""
        return sum(control.net_change is not None for control in self.each)

    @property
    def are_few(self) -> bool:
        """Whether even to be first among them has a p above 0.05."""
        return self.n_ranked < MIN_CONTROLS

    @property
    def rank_words(self) -> str:
        """'1 of 20': the rank among those that have one, and the direction itself."""
        return f"{'–' if self.rank is None else self.rank} of {self.n_ranked + 1}"


@dataclass(frozen=True, kw_only=True)
class Power:
    """In which share of simulated runs the verdict finds an effect of `effect`, a share of the programs.

    `smallest_effect` is the smallest one that it finds in a share of `needed`; None where none is.
    """

    effect: float
    power: float
    smallest_effect: float | None
    needed: float
    n_simulated: int

    @property
    def suffices(self) -> bool:
        """Whether "no measurable effect" may be said."""
        return self.power >= self.needed


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What is known of one direction without the others."""

    effect: Effect
    mcnemar_p: float
    controls: dict[str, AgainstControls]
    transitions: dict[str, int]


@dataclass(frozen=True, kw_only=True)
class Selective:
    """The effect when only problems are steered that a predictor flags."""

    by: str
    threshold: float
    n_steered: int
    effect: Effect


@dataclass(frozen=True, kw_only=True)
class OfLayer:
    """The latent of a direction, what it is wanted to do, and its layer."""

    latent: LatentFacts
    wanted: str
    layer: int


@dataclass(frozen=True, kw_only=True)
class Added(OfLayer):
    """Where a direction was added, and how much of it."""

    site: str
    coefficient: float
    norm: float

    @property
    def subtracted(self) -> bool:
        """Whether the direction is taken from the stream: phase 3.2 chose a negative coefficient."""
        return self.coefficient < 0


@dataclass(frozen=True, kw_only=True)
class NotSteered:
    """A direction without an admissible coefficient."""

    latent: LatentFacts
    wanted: str
    verdict: SteeringVerdict


@dataclass(frozen=True, kw_only=True)
class SteeredDirection(Compared, Added):  # the fields of the last base come first
    """One direction, its controls by kind, and the verdict; p_holm by test."""

    selective: Selective | None
    p_holm: dict[str, float | None]
    power: Power
    verdict: SteeringVerdict


@dataclass(frozen=True, kw_only=True)
class UnsteeredRate:
    n_correct: int
    pass_rate: Interval


@dataclass(frozen=True, kw_only=True)
class SteeringDocument:
    """steering.json. Controls got their better sign on `n_tuned_on` problems of hyperparams."""

    experiment: dict[str, str]
    split: str
    n: int
    readings: int
    seed: int
    steer: str
    baseline: UnsteeredRate
    agrees_with_phase_1: Agreement
    errors: dict[str, dict[str, int]]
    directions: dict[str, SteeredDirection | NotSteered]
    n_tuned_on: int = 0

    @property
    def steered(self) -> dict[str, SteeredDirection]:
        """Those that have a coefficient."""
        return {name: entry for name, entry in self.directions.items() if isinstance(entry, SteeredDirection)}


@dataclass(frozen=True, kw_only=True)
class ChangedProgram:
    """A program that a change corrected or corrupted, as a unified diff."""

    transition: str
    task_id: int
    text: str
    error_before: str | None
    error_after: str | None
    degenerate: bool
    diff: str


Examples = dict[str, list[ChangedProgram]]  # examples.json: by direction
