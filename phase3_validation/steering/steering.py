"""Phase 3.3: what each direction causes, on the validation split, beside directions that should cause nothing.

    python3 run.py phase 3.3 --model google/gemma-2-2b

1. Each control gets its better sign on a sample of hyperparams, as the direction got its own there (control_signs.py).
2. For each problem of validation one program without steering; and for each direction, at the layer and coefficient
   that phase 3.2 chose, one with the direction itself, one with each matched latent and one with each random direction
   added, all of one length.
3. What changed, with intervals: corrections, corruptions, net change of the pass rate, degenerate outputs.
4. Whether that is more than what the controls do, corrected for the number of directions (comparisons.py), and a
   verdict in words.
5. With phase 3.1: the same where only problems are steered that its predictor flags (selective.py).
"""

from collections import Counter
from dataclasses import replace
from typing import Any

from common import handoffs
from common.handoffs.steering import (
    MATCHED_LATENT,
    RANDOM_DIRECTION,
    Change,
    Match,
    NotSteered,
    Selective,
    SteeredDirection,
    SteeringDocument,
    SteeringVerdict,
    UnsteeredRate,
)
from common.interventions.comparisons import compare_direction, judge_family
from common.interventions.conditions import UNSTEERED, Condition, mean_norms, rows_by_condition, steered
from common.interventions.controls import controls_of, match_of, warn_of_few
from common.interventions.fitted import FittedDirection, steered_directions, with_vectors
from common.interventions.outcomes import effect, paired
from common.interventions.sampling import drawn, n_spaced, spaced
from common.interventions.steered_programs import SteeringPlan, write_steered
from common.interventions.steered_rows import agreement, warn_of_another_limit
from common.phases.context import RunContext
from common.problems.problem import ProblemRow
from common.programs.greedy import greedy_programs
from common.programs.writing import Earlier
from common.runs.records import RecordWriter
from phase3_validation.held_out_use import note_use
from phase3_validation.steering import figures
from phase3_validation.steering.config import SteeringConfig
from phase3_validation.steering.control_signs import (
    TUNING,
    ControlConditions,
    ControlledPlan,
    controls_with_signs,
    saved_rows,
)
from phase3_validation.steering.examples import examples
from phase3_validation.steering.selective import flagged_problems, predictor_of, selective


def plan_of(ctx: RunContext[SteeringConfig]) -> ControlledPlan:
    """Raises: ConfigError when a direction has no control."""
    latents, k = ctx.read(handoffs.LATENTS), ctx.config.n_controls
    coefficients = ctx.read(handoffs.COEFFICIENTS).document()
    usable = [name for name, entry in coefficients.directions.items() if entry.chosen]
    directions = steered_directions(latents, usable) if usable else []
    columns = latents.columns("latents.parquet") if usable else {}
    own, controls = {}, {}
    for direction in directions:
        entry = coefficients.directions[direction.name]
        assert entry.chosen is not None  # as it is usable
        place = (entry.chosen.layer, entry.site, entry.chosen.coefficient)
        indices = {MATCHED_LATENT: controls_of(direction, columns, latents.document(), k), RANDOM_DIRECTION: range(k)}
        own[direction.name] = steered(direction.name, *place)
        controls[direction.name] = {
            kind: {index: Condition(direction.name, kind, index, *place) for index in some}
            for kind, some in indices.items()
        }
    tuned_on = drawn(
        ctx.read(handoffs.SPLIT).table(handoffs.SPLIT_FILES["hyperparams"]), ctx.config.tuning_problems, ctx.config.seed
    )
    base = SteeringPlan([], directions, mean_norms(ctx.read(handoffs.GENERAL_TEXT)))
    return ControlledPlan(base, coefficients, own, controls, tuned_on)


def run(ctx: RunContext[SteeringConfig], config: SteeringConfig) -> None:
    plan, generations = plan_of(ctx), ctx.read(handoffs.GENERATIONS)
    readings = note_use(ctx, config.reuse_validation)
    for name, controls in plan.controls.items():
        warn_of_few(name, len(controls[MATCHED_LATENT]), config.n_controls, ctx.log)
    earlier = greedy_programs(generations.table("dataset.parquet"))
    problems = spaced(ctx.read(handoffs.SPLIT).table(handoffs.SPLIT_FILES["validation"]), config.problems)
    with ctx.write() as out:
        out.conclude = lambda: conclude(ctx, out, plan, earlier, readings, problems)
        if out.n_wanted:  # the run that only joins what slices left needs no model
            warn_of_another_limit(ctx, generations)
            _write(ctx, out, plan, earlier, problems)


def _write(
    ctx: RunContext[SteeringConfig],
    out: RecordWriter,
    plan: ControlledPlan,
    earlier: Earlier,
    problems: list[ProblemRow],
) -> None:
    """The programs that give the controls their signs, then those of validation."""
    n, n_there = plan.n_for_signs, len(problems) * plan.n_conditions
    ctx.log.info("%d programs of hyperparams to turn the controls, %d of validation", n, n_there)
    steer_prompt = plan.coefficients.steer == "all"
    directions = with_vectors(plan.base.directions, ctx.read(handoffs.COEFFICIENTS))
    plan = replace(plan, base=replace(plan.base, directions=directions))

    def write_both_signs() -> None:  # those of them that are this slice's, or that it helps with
        write_steered(ctx, out, plan.tuned_on, plan.both_signs, earlier, steer_prompt, table=TUNING, disturbance=False)

    if plan.own:
        write_both_signs()
    if out.end < n:  # a slice of nothing else
        return
    if any(index not in out.saved_records for index in range(n)):
        with out.helping(range(n)) as n_missing:
            ctx.log.info("%d of these are other slices', and needed now", n_missing)
            write_both_signs()
    controls = controls_with_signs(plan, saved_rows(out, n)) if plan.own else {}
    write_steered(ctx, out, problems, plan.steering(controls), earlier, steer_prompt, first=n)


def conclude(
    ctx: RunContext[SteeringConfig],
    out: RecordWriter,
    plan: ControlledPlan,
    earlier: dict[int, dict[str, Any]],
    readings: int,
    problems: list[dict[str, Any]],
) -> None:
    """Write steering.json, examples.json and the figures, which follow from all records."""
    rows = rows_by_condition(out.joined_rows())
    before = rows[UNSTEERED]
    controls = controls_with_signs(plan, out.joined_rows(TUNING)) if plan.own else {}
    entries = _entries(ctx, plan, controls, rows)
    baseline = paired(before, before)
    result = SteeringDocument(
        experiment=out.identity["experiment"],
        split="validation",
        n=len(before),
        readings=readings,
        seed=ctx.config.seed,
        steer=plan.coefficients.steer,
        baseline=UnsteeredRate(n_correct=baseline.n_correct_before, pass_rate=effect(baseline).pass_rate),
        agrees_with_phase_1=agreement(before, earlier),
        errors={"unsteered": _errors(before)} | {name: _errors(rows[own]) for name, own in plan.own.items()},
        directions=entries,
        n_tuned_on=len(plan.tuned_on),
    )
    out.document("steering.json", result)
    texts = {problem["task_id"]: problem["text"] for problem in problems}
    out.document("examples.json", {name: examples(before, rows[own], texts) for name, own in plan.own.items()})
    for name, entry in result.steered.items():
        curve = plan.coefficients.directions[name]
        out.file(f"figures/dose_response_{name}.svg", figures.dose_response(name, curve, entry))
        out.file(f"figures/among_controls_{name}.svg", figures.among_controls(name, entry))
        out.file(f"figures/transitions_{name}.svg", figures.transition_table(name, entry))
    for name, entry in entries.items():
        ctx.log.info("%s: %s", name, entry.verdict)
    out.summary = {"problems": len(before), "conditions": len(rows)}
    out.summary |= {name: str(entry.verdict) for name, entry in entries.items()}


def _entries(
    ctx: RunContext, plan: ControlledPlan, controls: ControlConditions, rows: dict[Condition, Any]
) -> dict[str, SteeredDirection | NotSteered]:
    """Every direction; those that were steered are judged together."""
    before, curves, compared = rows[UNSTEERED], plan.coefficients.directions, {}
    matches = _matches(ctx, plan) if plan.own else {}
    for name, own in plan.own.items():
        beside = {
            kind: {index: rows[condition] for index, condition in group.items()}
            for kind, group in controls[name].items()
        }
        compared[name] = compare_direction(before, rows[own], beside, curves[name].wanted, matches.get(name))
    judged = judge_family(compared, {name: entry.wanted for name, entry in curves.items()})
    entries: dict[str, SteeredDirection | NotSteered] = {}
    for name, entry in curves.items():
        facts = {"latent": entry.latent, "wanted": entry.wanted}
        if name not in judged:
            entries[name] = NotSteered(**facts, verdict=SteeringVerdict(Change.UNUSABLE, why=entry.why))
            continue
        own = plan.own[name]
        place = {"layer": own.layer, "site": own.site, "coefficient": own.coefficient}
        entries[name] = SteeredDirection(
            **facts,
            **place,
            norm=plan.base.norms[own.layer, own.site],
            **vars(compared[name]),  # the effect, beside the controls
            **vars(judged[name]),  # p_holm, power, verdict
            selective=_selective(ctx, entry.wanted, before, rows[own]),
        )
    return entries


def _matches(ctx: RunContext, plan: ControlledPlan) -> dict[str, Match]:
    """How alike the matched latents of each direction are to its own."""
    latents = ctx.read(handoffs.LATENTS)
    columns, n = latents.columns("latents.parquet"), latents.document().problems
    return {
        direction.name: match_of(columns, direction, list(plan.controls[direction.name][MATCHED_LATENT]), n)
        for direction in plan.base.directions
        if not isinstance(direction, FittedDirection)  # which has no firing rate
    }


def _selective(ctx: RunContext, wanted: str, before: list[Any], after: list[Any]) -> Selective | None:
    """None before phase 3.1, or where it has no threshold."""
    if handoffs.DETECTION.name not in ctx.artifacts:
        return None
    predictor = predictor_of(wanted)
    flags = flagged_problems(ctx.read(handoffs.DETECTION), predictor)
    return flags and selective(before, after, flags, predictor)


def _errors(rows: list[dict[str, Any]]) -> dict[str, int]:
    """How often each class of error came."""
    return dict(sorted(Counter(row["error"] for row in rows if row["error"] is not None).items()))


def count_records(ctx: RunContext[SteeringConfig]) -> int:
    plan = plan_of(ctx)
    n_problems = n_spaced(ctx.read(handoffs.SPLIT).n_rows(handoffs.SPLIT_FILES["validation"]), ctx.config.problems)
    return plan.n_for_signs + n_problems * plan.n_conditions
