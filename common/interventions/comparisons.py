"""Whether a direction does more than its controls, and what may be said of it.

Three questions decide, none of which is enough by itself. The first two are asked of simulated runs too: whoever
changes a rule changes `simulate` in power.py.

1. Did the pass rate change? Exact McNemar, two-sided, over the problems whose label changed; Holm over directions.
2. Is its net change more extreme than that of every single control, of both kinds? Each has its better sign, as the
   direction has, so that under no effect its rank is nearly that of one among equals; layer and |coefficient| were
   chosen for the direction alone.
3. Are the programs still programs? `Effect.breaks` says "breaks the output" before what the others say; degenerate.py
   tells which programs count.

What is said (`Change`), by the first line that holds:

| | |
|---|---|
| the change is not significant, and an effect of 5 points would have been found (power.py) | no measurable effect |
| the change is not significant | cannot tell |
| it is significant, and goes the other way | changes the pass rate, but against what was wanted |
| it is as wanted; of one kind no control could be judged | raises/lowers the pass rate (without controls) |
| it is as wanted; one control does as much | changes the pass rate, but no more than its controls |
| it is as wanted, but of one kind there were fewer than 19 | changes the pass rate beyond all of its controls |
| else | raises/lowers the pass rate |

Controls get the direction's layer and length, and the sign that is better for each.

For description only: Fisher's exact test, one-sided, of the direction's own outcome (corrections of what failed, to
raise; corruptions of what passed, to lower) against all programs of the controls pooled, and a binomial test against
their rate, never against zero. Both take the controls' programs for independent. They are not: controls differ from
each other more than programs of one rate do, and all are tried on the same problems.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import binomtest, fisher_exact

from common.evaluation.statistics import ALPHA, counted, holm, p_of, two_way_rate_interval
from common.handoffs.estimates import Counted, Interval
from common.handoffs.steering import (
    LOWER,
    MATCHED_LATENT,
    RAISE,
    AgainstControls,
    Change,
    Compared,
    ControlEffect,
    Effect,
    Match,
    Power,
    SteeringVerdict,
)
from common.interventions.outcomes import Pairs, effect, paired, per_nat, trajectory_kl, transitions
from common.interventions.power import power_of_verdict
from common.tables import TableRow

OUTCOME = {RAISE: "corrected", LOWER: "corrupted"}
DOES = {RAISE: Change.RAISES, LOWER: Change.LOWERS}
DOES_WITHOUT_CONTROLS = {RAISE: Change.RAISES_WITHOUT_CONTROLS, LOWER: Change.LOWERS_WITHOUT_CONTROLS}

ControlRows = Mapping[str, Mapping[int, Sequence[TableRow]]]  # kind -> index -> rows


def wanted_change(positive: str) -> str:
    """What steering towards a label should do to the pass rate: 'correct' raises it, 'incorrect' lowers it."""
    return RAISE if positive == "correct" else LOWER


def compare_direction(
    before: Sequence[TableRow],
    after: Sequence[TableRow],
    controls: ControlRows,
    wanted: str,
    match: Match | None = None,
) -> Compared:
    """Everything about one direction that does not depend on the others: see `judge_family` for the rest.

    `match` is that of the matched latents. Programs of a control are with the sign that is better for it.
    """
    own = paired(before, after)
    kinds = {kind: {index: paired(before, rows) for index, rows in each.items()} for kind, each in controls.items()}
    compared = {kind: _compare(own, each, wanted) for kind, each in kinds.items()}
    if match is not None:
        compared[MATCHED_LATENT] = replace(compared[MATCHED_LATENT], match=match)
    return Compared(
        effect=effect(own),
        mcnemar_p=mcnemar_p(own.corrected, own.corrupted),
        controls=compared,
        transitions=transitions(own),
    )


@dataclass(frozen=True)
class Judgement:
    """What is known of a direction once all are: Holm's p by test, the power of the verdict, and the verdict."""

    p_holm: dict[str, float | None]
    power: Power
    verdict: SteeringVerdict


def judge_family(compared: dict[str, Compared], wanted: dict[str, str]) -> dict[str, Judgement]:
    """Every direction that was run, judged. `wanted` is what each should do.

    Holm's correction is over the directions, for McNemar's test and for Fisher's against the first kind of controls:
    matched latents, except for a positive control, which has random directions alone.
    """
    mcnemar = holm([each.mcnemar_p for each in compared.values()])
    fisher = holm([next(iter(each.controls.values())).fisher_p for each in compared.values()])
    judged = {}
    for (name, each), p_mcnemar, p_fisher in zip(compared.items(), mcnemar, fisher, strict=True):
        p_holm = {"mcnemar": p_mcnemar, "fisher": p_fisher}
        power = power_of_verdict(each, wanted[name], len(compared))
        judged[name] = Judgement(p_holm, power, steering_verdict(each, p_holm, power, wanted[name]))
    return judged


def steering_verdict(compared: Compared, p_holm: dict[str, float | None], power: Power, wanted: str) -> SteeringVerdict:
    """What may be said of a direction, from its numbers."""
    few = any(controls.are_few for controls in compared.controls.values())
    change, why = _with_power(_change(compared, p_holm, wanted, few), power)
    return SteeringVerdict(change, compared.effect.breaks, why, few)


def verdict_without_controls(measured: Effect, p_mcnemar: float | None, power: Power, wanted: str) -> SteeringVerdict:
    """What may be said where nobody asked what a matched latent would do."""
    change, why = _with_power(_falls_short(measured, p_mcnemar, wanted) or DOES_WITHOUT_CONTROLS[wanted], power)
    return SteeringVerdict(change, measured.breaks, why)


def _with_power(change: Change, power: Power) -> tuple[Change, str]:
    """Whether "no measurable effect" may be said; if not, what may be."""
    if change is Change.NOTHING and not power.suffices:
        return Change.CANNOT_TELL, would_have_been_found(power)
    return change, ""


def would_have_been_found(power: Power) -> str:
    """'an effect of 12 points would show in 80 % of such runs, a smaller one less often'."""
    if power.smallest_effect is None:
        return "no effect would show in such a run"
    effect = f"an effect of {100 * power.smallest_effect:.0f} points would show"
    return f"{effect} in {100 * power.needed:g} % of such runs, a smaller one less often"


def _change(compared: Compared, p_holm: dict[str, float | None], wanted: str, few: bool) -> Change:
    falls_short = _falls_short(compared.effect, p_holm["mcnemar"], wanted)
    if falls_short is not None:
        return falls_short
    ranks = [kind.rank for kind in compared.controls.values()]
    if None in ranks:  # no program of these controls could be judged
        return DOES_WITHOUT_CONTROLS[wanted]
    if any(rank != 1 for rank in ranks):
        return Change.NO_MORE
    return Change.BEYOND_ITS_FEW if few else DOES[wanted]


def _falls_short(measured: Effect, p_mcnemar: float | None, wanted: str) -> Change | None:
    """What is said where the pass rate did not change significantly as wanted; None where it did."""
    change = measured.net_change.value
    if change is None or p_mcnemar is None or p_mcnemar >= ALPHA:
        return Change.NOTHING
    return None if (change > 0) == (wanted == RAISE) else Change.UNWANTED


def _compare(own: Pairs, controls: dict[int, Pairs], wanted: str) -> AgainstControls:
    """A direction against one kind of controls."""
    hits, of = _outcomes(own, wanted), _at_risk(own, wanted)
    pooled = [
        sum(_outcomes(pairs, wanted) for pairs in controls.values()),
        sum(_at_risk(pairs, wanted) for pairs in controls.values()),
    ]
    judged = [pairs for pairs in controls.values() if pairs.n]
    rank = 1 + sum(_gain(pairs, wanted) >= _gain(own, wanted) for pairs in judged) if own.n and judged else None
    return AgainstControls(
        n=len(controls),
        pooled=_pooled(controls, wanted, *pooled),
        fisher_p=fisher_p(hits, of, *pooled),
        binomial_p=binomial_p(hits, of, rate_to_beat(*pooled)),
        rank=rank,
        rank_p=rank and rank / (1 + len(judged)),
        each=[_of_control(index, pairs) for index, pairs in controls.items()],
    )


def _pooled(controls: dict[int, Pairs], wanted: str, n: int, of: int) -> Counted:
    """The rate of all controls together; its interval is over problems and controls."""
    if not of:
        return counted(n, of)
    tasks = {row["task_id"] for pairs in controls.values() for row in pairs.before}
    place = {task: column for column, task in enumerate(sorted(tasks))}
    hits, trials = np.zeros((2, len(controls), len(place)), dtype=bool)
    failed_before = wanted == RAISE
    for number, pairs in enumerate(controls.values()):
        for before, after in zip(pairs.before, pairs.after, strict=True):
            if (before["label"] == "incorrect") == failed_before:
                trials[number, place[before["task_id"]]] = True
                hits[number, place[before["task_id"]]] = after["label"] != before["label"]
    return Counted(n, of, Interval(n / of, *two_way_rate_interval(hits, trials)))


def _of_control(index: int, pairs: Pairs) -> ControlEffect:
    n_degenerate = sum(row["degenerate"] for row in pairs.after)
    change, disturbance = pairs.net_change if pairs.n else None, trajectory_kl(pairs.after)
    return ControlEffect(
        index=index,
        net_change=change,
        n_corrected=pairs.corrected,
        n_corrupted=pairs.corrupted,
        degenerate_rate=n_degenerate / pairs.n if pairs.n else None,
        trajectory_kl=disturbance,
        net_change_per_nat=per_nat(change, disturbance),
        coefficient=pairs.after[0].get("coefficient") if pairs.n else None,
    )


def _outcomes(pairs: Pairs, wanted: str) -> int:
    return pairs.corrected if wanted == RAISE else pairs.corrupted


def _at_risk(pairs: Pairs, wanted: str) -> int:
    """Programs that can have the outcome: those that failed, or those that passed."""
    return pairs.n - pairs.n_correct_before if wanted == RAISE else pairs.n_correct_before


def _gain(pairs: Pairs, wanted: str) -> float:
    """The net change in the wanted direction."""
    return pairs.net_change if wanted == RAISE else -pairs.net_change


def mcnemar_p(n_gained: int, n_lost: int) -> float:
    """Exact two-sided p that as many problems gain as lose; 1 where none changed.

    Source: McNemar 1947, Psychometrika 12; exact: a binomial test of the discordant pairs at 1/2.
    """
    return float(binomtest(n_gained, n_gained + n_lost).pvalue) if n_gained + n_lost else 1.0


def rate_to_beat(n: int, of: int) -> float | None:
    """The rate of the controls to test against: n / of, and 0.5 / (of + 1) where no control program changed.

    Never zero: against zero a single change would be proof. None without a program.
    """
    if not of:
        return None
    return n / of if n else 0.5 / (of + 1)


def binomial_p(n: int, of: int, against: float | None) -> float | None:
    """One-sided exact p of `n` or more changes of `of`, when each comes with probability `against`."""
    return float(binomtest(n, of, against, alternative="greater").pvalue) if of and against is not None else None


def fisher_p(hits: int, of: int, pooled_hits: int, pooled_of: int) -> float | None:
    """One-sided exact p that the direction's outcome is no more frequent than the controls'; None without programs."""
    if not of or not pooled_of:
        return None
    table = [[hits, of - hits], [pooled_hits, pooled_of - pooled_hits]]
    return p_of(fisher_exact(table, alternative="greater"))
