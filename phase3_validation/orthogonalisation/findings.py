"""What the programs of orthogonalised models say: statistics of phase 3.3, the weights' verification, and words."""

from __future__ import annotations

from collections.abc import Sequence

from common.handoffs.changes import Cell, RemovedDirection, ResultTable, StillWritten
from common.handoffs.estimates import Interval
from common.handoffs.steering import LOWER, MATCHED_LATENT, MIN_CONTROLS, RAISE, AgainstControls, ControlEffect, Match
from common.interventions.comparisons import OUTCOME, compare_direction, judge_family
from common.interventions.conditions import Condition
from common.interventions.controls import match_words
from common.interventions.directions import Direction
from common.interventions.power import power_words
from common.tables import TableRow
from common.words import direction_words, latent_words, listed, number, p_words, percent, plural, points

RowsOf = dict[Condition, list[TableRow]]


def entries(
    directions: Sequence[Direction],
    before: Sequence[TableRow],
    rows: RowsOf,
    own: dict[str, Condition],
    controls: dict[str, dict[int, Condition]],
    matches: dict[str, Match],
) -> dict[str, RemovedDirection]:
    """Every direction, judged as in phase 3.3. `wanted` is what its loss should do to the pass rate."""
    compared, wanted = {}, {}
    for direction in directions:
        name = direction.name
        wanted[name] = LOWER if direction.positive == "correct" else RAISE
        matched = {MATCHED_LATENT: {i: rows[condition] for i, condition in controls[name].items()}}
        compared[name] = compare_direction(before, rows[own[name]], matched, wanted[name], matches[name])
    judged = judge_family(compared, wanted)
    return {
        d.name: RemovedDirection(
            latent=d.facts, wanted=wanted[d.name], layer=d.layer, **vars(compared[d.name]), **vars(judged[d.name])
        )
        for d in directions
    }


def verification(
    rows: RowsOf, own: dict[str, Condition], controls: dict[str, dict[int, Condition]], limit: float
) -> dict[str, StillWritten]:
    """For each direction the largest |<d, write>| / |write| of all prompts: before, after, and where.

    `controls` is the largest of its matched latents'; `limit` is what was allowed.
    """
    written = {}
    for name, condition in own.items():
        worst = max(rows[condition], key=lambda row: row["share"])
        of_controls = [row["share"] for control in controls[name].values() for row in rows[control]]
        written[name] = StillWritten(
            worst=worst["share"],
            component=worst["component"],
            limit=limit,
            before=max(row["share_before"] for row in rows[condition]),
            controls=max(of_controls),
            n_prompts=len(rows[condition]),
        )
    return written


def sentences(verified: dict[str, StillWritten], removed: dict[str, RemovedDirection]) -> list[str]:
    """The measurement of the weights, then a paragraph for each direction."""
    worst = max(max(entry.worst, entry.controls) for entry in verified.values())
    before = [f"{entry.before:.2f} for {direction_words(name)}" for name, entry in verified.items()]
    limit = next(iter(verified.values())).limit
    checked = (
        f"Measured on every prompt: of what any component writes to the residual stream, at most {worst:.1g} of its "
        f"length still lies along a removed direction (allowed: {limit:.1g}). In the unchanged model it is up to "
        f"{listed(before)}."
    )
    return [checked, *(_sentence(name, entry) for name, entry in removed.items())]


def _sentence(name: str, entry: RemovedDirection) -> str:
    changed, matched, p_holm = entry.effect, entry.controls[MATCHED_LATENT], entry.p_holm
    outcome = changed.correction if entry.wanted == RAISE else changed.corruption
    power, speaks_for = power_words(entry.power), "incorrect" if entry.wanted == RAISE else "correct"
    return (
        f"Without {direction_words(name)} ({latent_words(entry.latent)}), which should {entry.wanted} the pass rate, "
        f"because it speaks for {speaks_for} programs, this changes by {points(changed.net_change)}: "
        f"{plural(changed.correction.n, 'program')} corrected, {changed.corruption.n} corrupted, of {changed.n} "
        f"(McNemar, Holm: {p_words(p_holm['mcnemar'])}). Of the programs that could be, {percent(outcome.rate)} are "
        f"{OUTCOME[entry.wanted]}; without a matched latent {percent(matched.pooled.rate)} (as description, Fisher, "
        f"Holm: {p_words(p_holm['fisher'])}). {among_the_controls(entry.wanted, matched)} Verdict: {entry.verdict}. "
        f"{power[:1].upper()}{power[1:]}. {_match_sentence(matched)}"
    )


def among_the_controls(wanted: str, matched: AgainstControls) -> str:
    """What the rank decides; ties with a control count against the direction."""
    if matched.rank is None:
        return "Its net change cannot be ranked among its controls, which would decide."
    n = matched.n_ranked
    beaten = n + 1 - matched.rank
    how_many = {0: "none", n: "all"}.get(beaten, str(beaten))
    says = "no support"
    if beaten == n:
        says = f"support, but by fewer than {MIN_CONTROLS} controls" if matched.are_few else "support"
    way = "higher" if wanted == RAISE else "lower"
    return (
        f"Its net change is {way} than that of {how_many} of its {plural(n, 'control')} (rank "
        f"{matched.rank_words}), which decides: {says}."
    )


def _with_variance(matched: AgainstControls) -> list[tuple[ControlEffect, float]]:
    """Each control with the variance of the residual stream along it."""
    assert matched.match is not None  # of this phase every direction's controls are matched on it
    return list(zip(matched.each, matched.match.each["variance"], strict=True))


def _match_sentence(matched: AgainstControls) -> str:
    """How much variance of the stream the controls' loss removes, beside its own."""
    assert matched.match is not None
    return f"Of its controls, matched on the variance that their loss removes, {match_words(matched.match)}."


def tables(verified: dict[str, StillWritten], removed: dict[str, RemovedDirection]) -> list[ResultTable]:
    """As the report shows them: title, columns, rows."""
    changes: list[list[Cell]] = [
        [
            direction_words(name),
            entry.wanted,
            percent(entry.effect.pass_rate),
            points(entry.effect.net_change),
            percent(entry.effect.correction.rate),
            percent(entry.effect.corruption.rate),
            percent(entry.effect.newly_degenerate.rate),
            number(entry.effect.trajectory_kl, 3),
            str(entry.verdict),
        ]
        for name, entry in removed.items()
    ]
    controls = [
        [
            direction_words(name),
            control.index,
            control.n_corrected,
            control.n_corrupted,
            points(Interval(control.net_change, None, None)),
            number(control.trajectory_kl, 3),
            f"{variance:.3g}",
        ]
        for name, entry in removed.items()
        for control, variance in _with_variance(entry.controls[MATCHED_LATENT])
    ]
    weights = [
        [direction_words(name), f"{entry.before:.2g}", f"{entry.worst:.1e}", entry.component,
         f"{entry.controls:.1e}", f"{entry.limit:.1e}", entry.n_prompts]
        for name, entry in verified.items()
    ]  # fmt: skip
    return [
        ResultTable(
            title="The model without each direction",
            columns=["taken away", "should", "pass rate", "net change", "corrected, of failed", "corrupted, of passed",
                     "newly degenerate", "disturbance [nats per token]", "verdict"],
            rows=changes,
        ),
        ResultTable(
            title="Largest share of what a component writes along the direction",
            columns=["taken away", "before", "after", "written by", "after, matched latents", "allowed", "prompts"],
            rows=weights,
        ),
        ResultTable(
            title="The model without each matched latent",
            columns=["in place of", "latent", "corrected", "corrupted", "net change",
                     "disturbance [nats per token]", "variance removed"],
            rows=controls,
        ),
    ]  # fmt: skip
