"""Phase 3.2: where to add each steering direction, and how much of it, on the hyperparams split.

    python3 run.py phase 3.2 --model google/gemma-2-2b --coefficients -1.0,-0.5,0.5,1.0

1. For each problem one program without steering, and one for each direction, layer and coefficient: the direction's
   unit vector, times the coefficient, times the mean norm of the residual stream there, is added at the last prompt
   token and every token after it.
2. The whole curve of the pass rate against the coefficient, with intervals, degenerate outputs and disturbance (KL).
3. The choice: the largest net change in the wanted direction, among points that leave the output whole.
"""

from dataclasses import dataclass
from typing import Any

from common import handoffs
from common.errors import ConfigError
from common.handoffs.steering import DEGENERATE_LIMIT, CoefficientsDocument, Dose, TunedDirection
from common.interventions.comparisons import wanted_change
from common.interventions.conditions import UNSTEERED, Variant, mean_norms, rows_by_variant, steered
from common.interventions.directions import Direction, selected_directions
from common.interventions.outcomes import effect, paired
from common.interventions.records import agreement, check_same_limit, greedy_programs, n_spaced, spaced
from common.interventions.steered_programs import SteeringPlan, write_steered
from common.phases.context import RunContext
from common.runs.records import RecordWriter
from phase3_validation.config import HYPERPARAMS
from phase3_validation.steering.choice import choose, curve_point
from phase3_validation.steering.config import CoefficientsConfig
from phase3_validation.steering.figures import dose_response


@dataclass(frozen=True)
class Plan(SteeringPlan):
    """What is run: by direction and layer, one variant for each coefficient."""

    points: dict[str, dict[int, list[Variant]]]


def plan_of(ctx: RunContext[CoefficientsConfig]) -> Plan:
    """Raises: ConfigError when a layer does not exist, or has no such site."""
    config = ctx.config
    norms = mean_norms(ctx.read(handoffs.GENERAL_TEXT))
    directions = selected_directions(ctx.read(handoffs.LATENTS), config.directions)
    layers = config.chosen_layers()
    check_places(norms, layers or [direction.layer for direction in directions], config.site)
    coefficients = [coefficient for coefficient in config.coefficients if coefficient]
    points = {
        direction.name: {
            layer: [steered(direction.name, layer, config.site, coefficient) for coefficient in coefficients]
            for layer in layers or [direction.layer]
        }
        for direction in directions
    }
    variants = [variant for by_layer in points.values() for group in by_layer.values() for variant in group]
    return Plan([UNSTEERED, *variants], directions, norms, points)


def check_places(norms: dict[tuple[int, str], float], layers: list[int], site: str) -> None:
    """Raises: ConfigError when phase 1.1 has found no such block, or no such site in it."""
    blocks = {layer for layer, _ in norms}
    absent = [layer for layer in layers if layer not in blocks]
    if absent:
        raise ConfigError(
            f"--layers names block {absent[0]}; the model's blocks are 0 to {max(blocks)}\nGive some of these"
        )
    lacking = [layer for layer in layers if (layer, site) not in norms]
    if lacking:
        there = [kind for kind in handoffs.RESID_SITES if all((layer, kind) in norms for layer in layers)]
        raise ConfigError(
            f"--site {site}: phase 1.1 has found no such place in block {lacking[0]} of this model, whose attention "
            f"and MLP do not follow each other there\nGive --site {' or --site '.join(there)}"
        )


def run(ctx: RunContext[CoefficientsConfig], config: CoefficientsConfig) -> None:
    plan, generations = plan_of(ctx), ctx.read(handoffs.GENERATIONS)
    earlier = greedy_programs(generations.table("dataset.parquet"))
    with ctx.write() as out:
        out.conclude = lambda: conclude(ctx, out, plan, earlier)
        if out.n_wanted:  # the run that only joins what slices left needs no model
            check_same_limit(ctx, generations)
            problems = spaced(ctx.read(handoffs.SPLIT).table(HYPERPARAMS), config.problems)
            write_steered(ctx, out, problems, plan, earlier, steer_prompt=config.steer == "all")


def conclude(
    ctx: RunContext[CoefficientsConfig], out: RecordWriter, plan: Plan, earlier: dict[int, dict[str, Any]]
) -> None:
    """Write coefficients.json and the figures, which follow from all records."""
    rows = rows_by_variant(out.joined_rows())
    before = rows[UNSTEERED]
    entries = {direction.name: _entry(ctx.config.site, plan, direction, rows) for direction in plan.directions}
    found = CoefficientsDocument(
        experiment=out.identity["experiment"],
        split="hyperparams",
        n=len(before),
        baseline=effect(paired(before, before)).pass_rate,
        agrees_with_phase_1=agreement(before, earlier),
        degenerate_limit=DEGENERATE_LIMIT,
        steer=ctx.config.steer,
        directions=entries,
    )
    out.document("coefficients.json", found)
    for name, entry in entries.items():
        out.file(f"figures/dose_response_{name}.svg", dose_response(name, entry))
        ctx.log.info("%s: %s. Chosen: %s", name, entry.why, _in_words(entry.chosen))
    out.summary = {"problems": len(before), "variants": len(rows)} | {
        name: _in_words(entry.chosen) for name, entry in entries.items()
    }


def _entry(site: str, plan: Plan, direction: Direction, rows: dict[Variant, Any]) -> TunedDirection:
    before, wanted = rows[UNSTEERED], wanted_change(direction.positive)
    curve = []
    for layer, variants in plan.points[direction.name].items():
        points = [curve_point(before, rows[variant], layer, variant.coefficient) for variant in variants]
        points.append(curve_point(before, before, layer, 0.0))
        curve += sorted(points, key=lambda point: point.coefficient)
    chosen, why = choose(curve, wanted)
    norms = {str(layer): plan.norms[layer, site] for layer in plan.points[direction.name]}
    return TunedDirection(
        latent=direction.facts, wanted=wanted, site=site, norms=norms, curve=curve, chosen=chosen, why=why
    )


def _in_words(chosen: Dose | None) -> str:
    return f"{chosen.coefficient:+g} at layer {chosen.layer}" if chosen else "nothing admissible"


def count_records(ctx: RunContext[CoefficientsConfig]) -> int:
    return n_spaced(ctx.read(handoffs.SPLIT).n_rows(HYPERPARAMS), ctx.config.problems) * len(plan_of(ctx).variants)
