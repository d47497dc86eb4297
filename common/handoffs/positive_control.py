"""The document of phase 3.8: steering that is known to work, judged by the rules of phase 3.3."""

from dataclasses import dataclass

from common.handoffs.estimates import Counted
from common.handoffs.steering import ChangedProgram, Compared, Power, SteeringVerdict, UnsteeredRate


@dataclass(frozen=True, kw_only=True)
class PairOutcome:
    """Fresh problems of a pair of operations A>B: which pass B's asserts, though the prompt asks for A.

    `most_of_a_control` is what the random direction that does so most often reaches; `length` that of the added vector
    [units of the residual stream].
    """

    n_read: int
    before: int
    passed: Counted
    most_of_a_control: int
    length: float


@dataclass(frozen=True, kw_only=True)
class JudgedControl(Compared):
    """The differences of all pairs together, against random directions of the same lengths."""

    wanted: str
    layer: int
    site: str
    coefficient: float
    p_holm: dict[str, float | None]
    power: Power
    verdict: SteeringVerdict


@dataclass(frozen=True, kw_only=True)
class PositiveControlDocument:
    """positive_control.json; `pairs` are by their name, A>B."""

    experiment: dict[str, str]
    pairs_file: str
    n: int
    seed: int
    baseline: UnsteeredRate
    pairs: dict[str, PairOutcome]
    examples: list[ChangedProgram]
    positive_control: JudgedControl
