"""Whether a direction does more than its controls, and what may be said of it.

Four questions, none of which is enough by itself:

1. Did the pass rate change? Exact McNemar, two-sided, over the problems whose label changed; Holm over directions.
2. Does the direction's own outcome (corrections of what failed, to raise; corruptions of what passed, to lower)
   come more often than with matched latents? Fisher's exact test, one-sided, against all their programs pooled;
   Holm over directions. Beside it one-sided binomial against the pooled rate, never against zero.
3. Is its net change more extreme than that of every single control, of both kinds? Fisher's test alone says yes too
   often: it takes the controls' programs for independent, but controls differ from each other more than
   programs of one rate do, and so does any vector from them. A rank among them is valid whatever their spread.
4. Are the programs still programs? See degenerate.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from scipy.stats import binomtest, fisher_exact

from common.evaluation.statistics import counted, holm, p_of
from common.handoffs.steering import (
    LOWER,
    MATCHED_LATENT,
    MIN_CONTROLS,
    RAISE,
    AgainstControls,
    Change,
    Compared,
    ControlEffect,
    Effect,
    Match,
    SteeringVerdict,
)
from common.interventions.outcomes import Pairs, Row, effect, median_kl, paired, transitions
from common.interventions.power import binomial_p, rate_to_beat, smallest_effect

ALPHA = 0.05
OUTCOME = {RAISE: "corrected", LOWER: "corrupted"}
DOES = {RAISE: Change.RAISES, LOWER: Change.LOWERS}
DOES_WITHOUT_CONTROLS = {RAISE: Change.RAISES_WITHOUT_CONTROLS, LOWER: Change.LOWERS_WITHOUT_CONTROLS}

Controls = Mapping[str, Mapping[int, Sequence[Row]]]  # kind -> index -> rows


def wanted_change(positive: str) -> str:
    """What steering towards a label should do to the pass rate: 'correct' raises it, 'incorrect' lowers it."""
    return RAISE if positive == "correct" else LOWER


def compare_direction(
    before: Sequence[Row], after: Sequence[Row], controls: Controls, wanted: str, match: Match | None = None
) -> Compared:
    """Everything about one direction that does not depend on the others: see `judge_family` for the rest.

    `match` is that of the matched latents. Programs of a control are with the sign that is better for it.
    """
    own = paired(before, after)
    kinds = {kind: {index: paired(before, rows) for index, rows in each.items()} for kind, each in controls.items()}
    found = {kind: _compare(own, each, wanted) for kind, each in kinds.items()}
    found[MATCHED_LATENT] = replace(found[MATCHED_LATENT], match=match)
    matched = found[MATCHED_LATENT].pooled
    against = rate_to_beat(matched.n, matched.of)
    return Compared(
        effect=effect(own),
        mcnemar_p=mcnemar_p(own.corrected, own.corrupted),
        smallest_effect=smallest_effect(_at_risk(own, wanted), against, OUTCOME[wanted]),
        controls=found,
        transitions=transitions(own),
    )


@dataclass(frozen=True)
class Judgement:
    """What is known of a direction once all are: Holm's p by test, and the verdict."""

    p_holm: dict[str, float | None]
    verdict: SteeringVerdict


def judge_family(compared: dict[str, Compared], wanted: dict[str, str]) -> dict[str, Judgement]:
    """Every direction that was run, judged. `wanted` is what each should do.

    Holm's correction is over the directions, for McNemar's test and for Fisher's against matched latents.
    """
    mcnemar = holm([each.mcnemar_p for each in compared.values()])
    fisher = holm([each.controls[MATCHED_LATENT].fisher_p for each in compared.values()])
    judged = {}
    for (name, each), *p in zip(compared.items(), mcnemar, fisher, strict=True):
        p_holm = {"mcnemar": p[0], "fisher": p[1]}
        judged[name] = Judgement(p_holm, verdict(each, p_holm, wanted[name]))
    return judged


def verdict(compared: Compared, p_holm: dict[str, float | None], wanted: str) -> SteeringVerdict:
    """What may be said of a direction, from its numbers."""
    return SteeringVerdict(_change(compared, p_holm, wanted), compared.effect.breaks)


def _change(compared: Compared, p_holm: dict[str, float | None], wanted: str) -> Change:
    without = change_without_controls(compared.effect, p_holm["mcnemar"], wanted)
    if without is not DOES_WITHOUT_CONTROLS[wanted]:
        return without
    if any(kind.n < MIN_CONTROLS for kind in compared.controls.values()):
        return Change.TOO_FEW
    more_often = p_holm["fisher"] is not None and p_holm["fisher"] < ALPHA
    beyond_all = all(kind.rank == 1 for kind in compared.controls.values())
    return DOES[wanted] if more_often and beyond_all else Change.NO_MORE


def change_without_controls(found: Effect, p_mcnemar: float | None, wanted: str) -> Change:
    """What may be said where nobody asked what a matched latent would do."""
    change = found.net_change.value
    if change is None or p_mcnemar is None or p_mcnemar >= ALPHA:
        return Change.NOTHING
    return DOES_WITHOUT_CONTROLS[wanted] if (change > 0) == (wanted == RAISE) else Change.UNWANTED


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
        pooled=counted(*pooled),
        fisher_p=fisher_p(hits, of, *pooled),
        binomial_p=binomial_p(hits, of, rate_to_beat(*pooled)),
        rank=rank,
        rank_p=rank and rank / (1 + len(judged)),
        each=[_of_control(index, pairs) for index, pairs in controls.items()],
    )


def _of_control(index: int, pairs: Pairs) -> ControlEffect:
    n_degenerate = sum(row["degenerate"] for row in pairs.after)
    return ControlEffect(
        index=index,
        net_change=pairs.net_change if pairs.n else None,
        n_corrected=pairs.corrected,
        n_corrupted=pairs.corrupted,
        degenerate_rate=n_degenerate / pairs.n if pairs.n else None,
        median_kl=median_kl(pairs.after),
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


def fisher_p(hits: int, of: int, pooled_hits: int, pooled_of: int) -> float | None:
    """One-sided exact p that the direction's outcome is no more frequent than the controls'; None without programs."""
    if not of or not pooled_of:
        return None
    table = [[hits, of - hits], [pooled_hits, pooled_of - pooled_hits]]
    return p_of(fisher_exact(table, alternative="greater"))
