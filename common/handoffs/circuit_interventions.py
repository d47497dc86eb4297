"""The document of phase 5.5: do the latents that graphs name carry the answers?"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from common.handoffs.estimates import Counted, Interval
from common.handoffs.score_verdicts import CANNOT_TELL

MIN_PROMPTS = 5  # of a behaviour: with fewer, an interval over prompts says nothing


class CircuitVerdict(enum.StrEnum):
    """Do the named latents do more than latents of the same layers and positions, about as active?"""

    CARRIED = "carried by these latents"
    NO_MORE = "no more than matched latents"
    CANNOT_TELL = CANNOT_TELL


@dataclass(frozen=True, kw_only=True)
class NamedSet:
    """Latents that graphs name, set to zero. `effect` is what is compared with `null`, the mean of the null sets:
    of the top by signed effect, what all together take from the difference; of the top by influence, the mean absolute
    effect of one latent alone.

    `beyond` is the paired difference of the two, `share` the effect as a share of the baseline, `first` and
    `first_twentieth` in how many prompts the set ranks so among the null sets. `p` is of the means over prompts among
    the means of the null sets, `p_holm` over the behaviours.
    """

    effect: Interval
    null: Interval
    beyond: Interval
    share: Interval
    first: Counted
    first_twentieth: Counted
    p: float
    p_holm: float
    verdict: CircuitVerdict


@dataclass(frozen=True, kw_only=True)
class Patched:
    """Prompts patched with their partner: the share of the difference between the two that moves, by the set.

    `n` pairs; `refused` are prompts without one, by the reason.
    """

    n: int
    refused: dict[str, int]
    moved: dict[str, Interval]
    back: Interval


@dataclass(frozen=True, kw_only=True)
class InterventionsOfBehaviour:
    """One behaviour: means over its `n` prompts, with bootstrap intervals over prompts.

    Effects are the difference of the answers' logits without a change minus that with it, as the model gives them.

    Shares and `faithfulness`, `left` are of means: sums over prompts divided by sums. `changes` are the effects of both
    named sets under every change, by set, intervention, and what is fixed. `steered` is by coefficient.
    `without_errors` is what is left of the baseline with transcoders in place of all MLPs. `activation_ratio` tells how
    active the latents of null sets are beside those that they match.
    """

    n: int
    baseline: Interval
    baseline_before_cap: Interval
    sets: dict[str, NamedSet]
    changes: dict[str, dict[str, dict[str, Interval]]]
    faithfulness: Interval
    left: Interval
    without_errors: Interval
    same_token: Counted
    errors_direct: Interval
    errors_signed: Interval
    replacement: Interval
    activation_ratio: Interval
    unmatched: int
    correlations: dict[str, Interval]
    important: Counted
    patched: Patched
    steered: dict[str, Interval]


@dataclass(frozen=True, kw_only=True)
class InterventionsDocument:
    """interventions.json; `behaviours` by name."""

    experiment: dict[str, str]
    n: int
    n_nulls: int
    set_size: int
    inhibit: float
    seed: int
    behaviours: dict[str, InterventionsOfBehaviour]
