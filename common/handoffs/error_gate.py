"""The document of phase 6.1b: can the model tell the errors apart that phase 6 wants to explain?"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from common.handoffs.estimates import Counted


class GateVerdict(enum.StrEnum):
    """May what carries the answer be looked for in these pairs?"""

    PASS = "gives the right answer"
    WEAK = "leans to the right side, without giving the right answer"
    STOP = "does not tell the two apart"

    @property
    def goes_on(self) -> bool:
        return self is not GateVerdict.STOP


@dataclass(frozen=True, kw_only=True)
class GateFigures:
    """What the model answers on some pairs.

    `clean` and `corrupted` are mean logit differences, of the clean prompt's error minus that of the corrupted one.
    `both_signs`: pairs where the first is above 0 and the second below. `clean_above`: pairs where the first is above
    the second. Of all prompts of both kinds: `accuracy` among the eight names, `prior_corrected` the same after each
    name's mean logit over all prompts of the format is taken off, `top` where the right name is the most likely token
    of all; `mass` is the mean probability of the eight names together, `top_tokens` the most frequent answers.
    """

    n: int
    clean: float
    corrupted: float
    both_signs: Counted
    clean_above: Counted
    accuracy: Counted
    prior_corrected: Counted
    top: Counted
    mass: float
    top_tokens: dict[str, int]
    verdict: GateVerdict


@dataclass(frozen=True, kw_only=True)
class GateResult:
    """One template, or all of a contrast that go on together, in one format.

    `select` decides; `held_out` are pairs of other words, `null_pairs` two clean prompts of one shape. None where
    there are no such pairs.
    """

    select: GateFigures
    held_out: GateFigures | None
    null_pairs: GateFigures | None

    @property
    def verdict(self) -> GateVerdict:
        return self.select.verdict


@dataclass(frozen=True, kw_only=True)
class GateOfContrast:
    """A contrast in one format: `together` are the figures of `templates`, the best that go on, else of all."""

    verdict: GateVerdict
    templates: list[str]
    together: GateResult
    by_template: dict[str, GateResult]


@dataclass(frozen=True, kw_only=True)
class AnswersOfFormat:
    """All prompts of real pairs in one format, whatever their contrast; rates also by the error that is raised.

    `predicted` are the shares of prompts whose most likely one of the eight names it is.
    """

    n: int
    accuracy: Counted
    prior_corrected: Counted
    top: Counted
    mass: float
    by_error: dict[str, Counted]
    prior_corrected_by_error: dict[str, Counted]
    predicted: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class Studied:
    """The contrast, format and templates that the later phases study, chosen on the pairs that select.

    `forced`: it did not pass, and --force goes on all the same.
    """

    contrast: str
    format: str
    templates: list[str]
    verdict: GateVerdict
    forced: bool


@dataclass(frozen=True, kw_only=True)
class ErrorGateDocument:
    """gate.json; `contrasts` by name and format. `studied` is None where nothing passes and --force is not given.

    `both_signs`, `held_out` and `null_pairs` are those of what is studied, else of the contrast nearest to passing.
    """

    n: int
    both_signs: Counted
    held_out: GateFigures | None
    null_pairs: GateFigures | None
    studied: Studied | None
    formats: dict[str, AnswersOfFormat]
    contrasts: dict[str, dict[str, GateOfContrast]]
