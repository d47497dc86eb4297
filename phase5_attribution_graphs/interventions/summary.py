"""What all prompts of a behaviour say together: interventions.json, from the tables alone.

Intervals are percentiles of a bootstrap over prompts; shares are of sums, since single differences may be near 0. A
named set carries an answer where its effect is beyond the null: p at most 0.05 after Holm over the behaviours, and the
paired difference above 0 in its whole interval. It does no more than matched latents where that interval stays below a
tenth of the baseline. Between the two, and with fewer than five prompts, one cannot tell.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from common.evaluation.bootstrap import draws_of_problems, interval
from common.evaluation.statistics import ALPHA, counted, holm
from common.handoffs.circuit_interventions import (
    MIN_PROMPTS,
    CircuitVerdict,
    InterventionsOfBehaviour,
    NamedSet,
    Patched,
)
from common.handoffs.estimates import UNDEFINED, Interval
from common.tables import TableRow
from phase5_attribution_graphs.interventions.ablations import is_row
from phase5_attribution_graphs.interventions.circuits import KEPT, TOP_INFLUENCE, TOP_SIGNED
from phase5_attribution_graphs.interventions.nulls import p_of_means
from phase5_attribution_graphs.interventions.patching import PAIRED
from phase5_attribution_graphs.interventions.rows import INHIBIT, MEAN, PATCH, PATCH_BACK, STEER, ZERO, ZERO_EACH

NEGLIGIBLE = 0.1  # of a baseline: less would not be called carrying it
COMPARED = {TOP_SIGNED: ZERO, TOP_INFLUENCE: ZERO_EACH}  # what is ranked among null sets
CORRELATIONS = ("influence_and_size", "signed_and_effect", "signed_and_frozen", "frozen_and_free")


@dataclass(frozen=True)
class Evidence:
    """All that is known of one behaviour: rows of two tables, and what null sets reach, [prompt, n_nulls] by set."""

    circuits: Sequence[TableRow]
    effects: Sequence[TableRow]
    nulls: Mapping[str, Float[np.ndarray, "prompt n_nulls"]]

    def column(self, name: str) -> Float[np.ndarray, " prompt"]:
        return np.array([row[name] for row in self.circuits], dtype=float)


def summarize(by_behaviour: Mapping[str, Evidence], n_resamples: int, seed: int) -> dict[str, InterventionsOfBehaviour]:
    summaries = {name: _of_behaviour(evidence, n_resamples, seed) for name, evidence in by_behaviour.items()}
    for name in COMPARED:
        adjusted = holm([one.sets[name].p for one in summaries.values()])
        for behaviour, p in zip(summaries, adjusted, strict=True):
            assert p is not None
            one = summaries[behaviour]
            judged = replace(one.sets[name], p_holm=p)
            judged = replace(judged, verdict=verdict_of(judged, one.baseline.known, one.n))
            summaries[behaviour] = replace(one, sets={**one.sets, name: judged})
    return summaries


def verdict_of(named_set: NamedSet, baseline: float, n_prompts: int) -> CircuitVerdict:
    low, high = named_set.beyond.low, named_set.beyond.high
    if n_prompts < MIN_PROMPTS or low is None or high is None:
        return CircuitVerdict.CANNOT_TELL
    if low > 0 and named_set.p_holm <= ALPHA:
        return CircuitVerdict.CARRIED
    return CircuitVerdict.NO_MORE if high < NEGLIGIBLE * abs(baseline) else CircuitVerdict.CANNOT_TELL


@dataclass(frozen=True)
class Resamples:
    """How often each prompt is drawn, [resample, prompt]."""

    draws: Float[np.ndarray, "r prompt"]

    def mean(self, values: Float[np.ndarray, " prompt"]) -> Interval:
        """Over the prompts that have a value."""
        return self.share(np.nan_to_num(values), (~np.isnan(values)).astype(float))

    def share(self, part: Float[np.ndarray, " prompt"], whole: Float[np.ndarray, " prompt"]) -> Interval:
        """The sum of one divided by that of the other."""
        if not whole.sum():
            return UNDEFINED
        with np.errstate(divide="ignore", invalid="ignore"):
            return interval(part.sum() / whole.sum(), (self.draws @ part) / (self.draws @ whole))


def _of_behaviour(evidence: Evidence, n_resamples: int, seed: int) -> InterventionsOfBehaviour:
    circuits, column, n = evidence.circuits, evidence.column, len(evidence.circuits)
    over = Resamples(draws_of_problems(n, n_resamples, seed))
    baseline, before_cap = column("baseline"), column("baseline_before_cap")
    carried = baseline - column("without_latents")
    return InterventionsOfBehaviour(
        n=n,
        baseline=over.mean(baseline),
        baseline_before_cap=over.mean(before_cap),
        sets={name: _named_set(evidence, name, over) for name in COMPARED},
        changes={name: _changes(evidence, name, over) for name in COMPARED},
        faithfulness=over.share(column("without_others") - column("without_latents"), carried),
        left=over.share(column("without_kept") - column("without_latents"), carried),
        without_errors=over.share(column("without_errors"), baseline),
        same_token=counted(sum(row["same_token"] for row in circuits), n),
        errors_direct=over.share(column("errors_direct") * before_cap, before_cap),
        errors_signed=over.share(column("errors_signed") * before_cap, before_cap),
        replacement=over.mean(column("replacement")),
        activation_ratio=over.mean(column("activation_ratio")),
        unmatched=sum(row["unmatched"] for row in circuits),
        correlations={name: over.mean(column(name)) for name in CORRELATIONS},
        important=counted(*(sum(row[name] for row in circuits) for name in ("n_important", "n_swept"))),
        patched=_patched(evidence, n_resamples, seed),
        steered=_steered(evidence, over),
    )


def _named_set(evidence: Evidence, name: str, over: Resamples) -> NamedSet:
    rows = [row for row in evidence.effects if is_row(row, COMPARED[name], name)]
    effects, null = np.array([row["effect"] for row in rows]), evidence.nulls[name]
    ranks, n_nulls = [row["rank"] for row in rows], null.shape[1]
    p = p_of_means(effects, null)
    return NamedSet(
        effect=over.mean(effects),
        null=over.mean(null.mean(1)),
        beyond=over.mean(effects - null.mean(1)),
        share=over.share(effects, evidence.column("baseline")),
        first=counted(ranks.count(1), len(ranks)),
        first_twentieth=counted(sum(one <= (1 + n_nulls) / 20 for one in ranks), len(ranks)),
        p=p,
        p_holm=p,
        verdict=CircuitVerdict.CANNOT_TELL,
    )


def _changes(evidence: Evidence, name: str, over: Resamples) -> dict[str, dict[str, Interval]]:
    """By intervention and what is fixed."""
    effects_of: dict[str, dict[str, list[float]]] = {}
    for row in evidence.effects:
        if row["set"] == name and row["intervention"] in (ZERO, MEAN, INHIBIT):
            effects_of.setdefault(row["intervention"], {}).setdefault(row["fixed"], []).append(row["effect"])
    return {
        what: {fixed: over.mean(np.array(values)) for fixed, values in by.items()} for what, by in effects_of.items()
    }


def _patched(evidence: Evidence, n_resamples: int, seed: int) -> Patched:
    states = [row["partner"] for row in evidence.circuits]
    n, others = states.count(PAIRED), dict.fromkeys(state for state in states if state != PAIRED)
    refused = {state: states.count(state) for state in others}
    if not n:
        return Patched(n=0, refused=refused, moved={}, back=UNDEFINED)
    over = Resamples(draws_of_problems(n, n_resamples, seed))
    [back] = _moved(evidence.effects, PATCH_BACK, over).values()
    return Patched(n=n, refused=refused, moved=_moved(evidence.effects, PATCH, over), back=back)


def _moved(effects: Sequence[TableRow], intervention: str, over: Resamples) -> dict[str, Interval]:
    """By set. A prompt whose graph keeps nothing in a layer moves nothing by it."""
    rows = [row for row in effects if row["intervention"] == intervention]
    whole = {row["record"]: row["whole"] for row in rows}
    effects_of: dict[str, dict[int, float]] = {}
    for row in rows:
        effects_of.setdefault(row["set"], {})[row["record"]] = row["effect"]
    names = sorted(effects_of, key=lambda name: (name.startswith(f"{KEPT}, "), len(name), name))
    wholes = np.array([*whole.values()])
    return {name: over.share(np.array([effects_of[name].get(one, 0.0) for one in whole]), wholes) for name in names}


def _steered(evidence: Evidence, over: Resamples) -> dict[str, Interval]:
    effects_of: dict[str, list[float]] = {}
    for row in evidence.effects:
        if row["intervention"] == STEER:
            effects_of.setdefault(f"{row['coefficient']:g}", []).append(row["effect"])
    return {coefficient: over.mean(np.array(values)) for coefficient, values in effects_of.items()}
