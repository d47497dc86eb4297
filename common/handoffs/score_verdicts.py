"""What may be said of a score on problems that it was not made from: three outcomes each, and their words.

Every verdict rests on a 95 % interval; where that holds both "yes" and "no", the verdict is that one cannot tell.
The rules are in common/evaluation/score_verdicts.py. Verdicts on a steered direction are in steering.py of this folder,
those on circuits in circuit_interventions.py, error_gate.py and error_dense.py.
"""

import enum
from dataclasses import dataclass

from common.handoffs.estimates import Interval

CANNOT_TELL = "cannot tell"


class RankingVerdict(enum.StrEnum):
    """Does the score rank what it stands for above the rest?"""

    RANKS = "ranks"
    LIKE_RANDOM = "ranks no better than random latents"
    DOES_NOT_RANK = "does not rank"
    CANNOT_TELL = CANNOT_TELL


class DifficultyVerdict(enum.StrEnum):
    """Does it add to what the problem's length, difficulty and wording tell?"""

    BEYOND = "beyond difficulty"
    NOT_BEYOND = "not beyond difficulty"
    CANNOT_TELL = CANNOT_TELL


class AlwaysVerdict(enum.StrEnum):
    """Is its F1 at one threshold above that of always giving the same answer? Reported, never decisive."""

    BETTER = "better than always"
    WORSE = "worse than always"
    CANNOT_TELL = CANNOT_TELL


@dataclass(frozen=True, kw_only=True)
class RankingPower:
    """The smallest true AUROC that so many problems call "ranks" in `power` of draws; None where none is."""

    smallest_auroc: float | None
    power: float
    n_positive: int
    n_negative: int

    @property
    def words(self) -> str:
        problems = f"{self.n_positive} positive and {self.n_negative} negative problems"
        if self.smallest_auroc is None:
            return f"with {problems} no AUROC would have been called “{RankingVerdict.RANKS}” often enough"
        return (
            f"with {problems} an AUROC of {self.smallest_auroc:.2f} would have been called “{RankingVerdict.RANKS}” "
            f"in {100 * self.power:g} % of draws"
        )

    def beside(self, verdict: RankingVerdict) -> str:
        """In brackets beside a verdict that says no, or that one cannot tell; nothing beside "ranks"."""
        return "" if verdict is RankingVerdict.RANKS else f" ({self.words})"


@dataclass(frozen=True, kw_only=True)
class AgainstAlways:
    """F1 at the tuned threshold less that of always giving the positive answer, paired."""

    verdict: AlwaysVerdict
    f1_difference: Interval

    def words(self, positive: str) -> str:
        always = f"that of always saying {positive}"
        if self.verdict is AlwaysVerdict.CANNOT_TELL:
            return f"one cannot tell whether its F1 is above {always}"
        return f"its F1 is {'above' if self.verdict is AlwaysVerdict.BETTER else 'below'} {always}"


@dataclass(frozen=True, kw_only=True)
class BeyondDifficulty:
    """The gain in AUROC when a score joins a regression on `covariates`, paired; z of its coefficient among them."""

    verdict: DifficultyVerdict
    gain: Interval
    auroc_of_covariates: Interval
    auroc_with_score: Interval
    partial_z: float | None
    covariates: list[str]


@dataclass(frozen=True, kw_only=True)
class Redrawn:
    """The latent that another draw of the split would have chosen, read where that draw did not select.

    None where it would have chosen none. The interval is DeLong's.
    """

    layer: int | None
    latent: int | None
    auroc: Interval


@dataclass(frozen=True, kw_only=True)
class Stability:
    """Of how many other draws of split and selection the same latent, and one of the same layer, comes out.

    `auroc` is the mean over the draws' own latents, with the 2.5 % and 97.5 % quantiles over the draws; each draw
    selects on `selected_on` problems of sae and hyperparams and is read on the other `read_on` of them.
    """

    draws: int
    same_latent: int
    same_layer: int
    auroc: Interval
    selected_on: int
    read_on: int
    chosen: list[Redrawn]
