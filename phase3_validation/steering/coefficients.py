"""Phase 3.2: where to add each steering direction, and how much of it, on the hyperparams split.

    python3 run.py phase 3.2 --model google/gemma-2-2b --coefficients -1.0,-0.5,0.5,1.0

1. The directions: selected latents' decoder rows, the difference of means and a probe's weights (fitted.py).
2. For each problem one program without steering, and one for each direction, layer and coefficient: the direction's
   unit vector, times the coefficient, times the mean norm of the residual stream there, is added at the last prompt
   token and every token after it.
3. The whole curve of the pass rate against the coefficient, with intervals, degenerate outputs and disturbance (KL).
4. The choice: the largest net change in the wanted direction, among points that leave the output whole.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from common import handoffs
from common.errors import ConfigError
from common.handoffs import JUDGED
from common.handoffs.steering import (
    DEGENERATE_LIMIT,
    CoefficientCurve,
    CoefficientsDocument,
    FittedFacts,
    LayerAndCoefficient,
)
from common.interventions.comparisons import wanted_change
from common.interventions.conditions import UNSTEERED, Condition, mean_norms, rows_by_condition, steered
from common.interventions.controls import warn_of_too_few_to_judge
from common.interventions.directions import Direction, unit_decoder_row
from common.interventions.fitted import VECTORS, FittedDirection, filled, fit, steered_directions
from common.interventions.outcomes import effect, paired
from common.interventions.sampling import n_spaced, spaced
from common.interventions.steered_programs import SteeringPlan, write_steered
from common.interventions.steered_rows import agreement, warn_of_another_limit
from common.phases.context import RunContext
from common.programs.greedy import greedy_programs
from common.runs.records import RecordWriter
from common.saes.activations import layer_activations
from common.saes.encoder import load_sae
from common.saes.sources import sae_source
from phase3_validation.steering.choice import choose, curve_point
from phase3_validation.steering.config import CoefficientsConfig
from phase3_validation.steering.figures import dose_response


@dataclass(frozen=True)
class CoefficientsPlan(SteeringPlan):
    """What is run: by direction and layer, one condition for each coefficient."""

    by_layer: dict[str, dict[int, list[Condition]]]


def plan_of(ctx: RunContext[CoefficientsConfig]) -> CoefficientsPlan:
    """Raises: ConfigError when a layer does not exist, or has no such site."""
    config = ctx.config
    norms = mean_norms(ctx.read(handoffs.GENERAL_TEXT))
    directions = steered_directions(ctx.read(handoffs.LATENTS), config.directions)
    layers = config.chosen_layers()
    check_places(norms, layers or [direction.layer for direction in directions], config.site)
    coefficients = [coefficient for coefficient in config.coefficients if coefficient]
    by_layer = {
        direction.name: {
            layer: [steered(direction.name, layer, config.site, coefficient) for coefficient in coefficients]
            for layer in layers or [direction.layer]
        }
        for direction in directions
    }
    conditions = [condition for layers in by_layer.values() for group in layers.values() for condition in group]
    return CoefficientsPlan([UNSTEERED, *conditions], directions, norms, by_layer)


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
    plan, generations, latents = plan_of(ctx), ctx.read(handoffs.GENERATIONS), ctx.read(handoffs.LATENTS)
    warn_of_too_few_to_judge(plan.directions, latents.columns("latents.parquet"), latents.document(), ctx.log)
    earlier = greedy_programs(generations.table("dataset.parquet"))
    with ctx.write() as out:
        out.conclude = lambda: conclude(ctx, out, plan, earlier)
        if out.n_wanted:  # the run that only joins what slices left needs no model
            warn_of_another_limit(ctx, generations)
            problems = spaced(ctx.read(handoffs.SPLIT).table(handoffs.SPLIT_FILES["hyperparams"]), config.problems)
            fitted = replace(plan, directions=filled(plan.directions, fitted_vectors(ctx, plan)))
            write_steered(ctx, out, problems, fitted, earlier, steer_prompt=config.steer == "all")


def fitted_vectors(ctx: RunContext[CoefficientsConfig], plan: CoefficientsPlan) -> dict[str, np.ndarray]:
    """Both fitted directions, from the problems of `sae` that were judged; none where none of them is steered."""
    fitted = [direction for direction in plan.directions if isinstance(direction, FittedDirection)]
    if not fitted:
        return {}
    generations, split = ctx.read(handoffs.GENERATIONS), ctx.read(handoffs.SPLIT).table(handoffs.SPLIT_FILES["sae"])
    labels = {task: row["label"] for task, row in greedy_programs(generations.table("dataset.parquet")).items()}
    tasks = [row["task_id"] for row in split if labels.get(row["task_id"]) in JUDGED]
    resid = layer_activations(generations, fitted[0].layer, tasks).numpy()
    return fit(resid, np.array([labels[task] == "incorrect" for task in tasks]), ctx.config.seed)


def conclude(
    ctx: RunContext[CoefficientsConfig], out: RecordWriter, plan: CoefficientsPlan, earlier: dict[int, dict[str, Any]]
) -> None:
    """Write coefficients.json and the figures, which follow from all records."""
    rows = rows_by_condition(out.joined_rows())
    before = rows[UNSTEERED]
    entries = {direction.name: _entry(ctx.config.site, plan, direction, rows) for direction in plan.directions}
    vectors = fitted_vectors(ctx, plan)
    result = CoefficientsDocument(
        experiment=out.identity["experiment"],
        split="hyperparams",
        n=len(before),
        baseline=effect(paired(before, before)).pass_rate,
        agrees_with_phase_1=agreement(before, earlier),
        degenerate_limit=DEGENERATE_LIMIT,
        steer=ctx.config.steer,
        directions=entries,
        fitted=_fitted_facts(ctx, plan, vectors),
    )
    out.document("coefficients.json", result)
    if vectors:
        out.columns(VECTORS, _columns(plan, vectors))
    for name, entry in entries.items():
        out.file(f"figures/dose_response_{name}.svg", dose_response(name, entry))
        ctx.log.info("%s: %s. Chosen: %s", name, entry.why, _in_words(entry.chosen))
    out.summary = {"problems": len(before), "conditions": len(rows)} | {
        name: _in_words(entry.chosen) for name, entry in entries.items()
    }


def _fitted_facts(
    ctx: RunContext[CoefficientsConfig], plan: CoefficientsPlan, vectors: dict[str, np.ndarray]
) -> dict[str, FittedFacts]:
    """Of both, also where only one is steered: how alike they are to the latents that are steered at their layer."""
    if not vectors:
        return {}
    layer, config = _layer_of_fitted(plan), ctx.config
    sae = load_sae(sae_source(config.sae, config.model, config.sae_revision), layer)
    there = [d for d in plan.directions if d.layer == layer and not isinstance(d, FittedDirection)]
    rows = {direction.name: unit_decoder_row(sae, direction.latent).numpy() for direction in there}
    return {
        name: FittedFacts(layer=layer, cosines={of: float(row @ vector) for of, row in rows.items()})
        for name, vector in vectors.items()
    }


def _columns(plan: CoefficientsPlan, vectors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Those of vectors.parquet."""
    width = len(next(iter(vectors.values())))
    return {
        "direction": np.repeat([*vectors], width),
        "layer": np.full(len(vectors) * width, _layer_of_fitted(plan)),
        "dimension": np.tile(np.arange(width), len(vectors)),
        "value": np.concatenate([*vectors.values()]).astype(np.float64),
    }


def _layer_of_fitted(plan: CoefficientsPlan) -> int:
    return next(direction.layer for direction in plan.directions if isinstance(direction, FittedDirection))


def _entry(site: str, plan: CoefficientsPlan, direction: Direction, rows: dict[Condition, Any]) -> CoefficientCurve:
    before, wanted = rows[UNSTEERED], wanted_change(direction.positive)
    curve = []
    for layer, conditions in plan.by_layer[direction.name].items():
        points = [curve_point(before, rows[condition], layer, condition.coefficient) for condition in conditions]
        points.append(curve_point(before, before, layer, 0.0))
        curve += sorted(points, key=lambda point: point.coefficient)
    chosen, why = choose(curve, wanted)
    norms = {str(layer): plan.norms[layer, site] for layer in plan.by_layer[direction.name]}
    return CoefficientCurve(
        latent=direction.facts, wanted=wanted, site=site, norms=norms, curve=curve, chosen=chosen, why=why
    )


def _in_words(chosen: LayerAndCoefficient | None) -> str:
    return f"{chosen.coefficient:+g} at layer {chosen.layer}" if chosen else "nothing admissible"


def count_records(ctx: RunContext[CoefficientsConfig]) -> int:
    return n_spaced(ctx.read(handoffs.SPLIT).n_rows(handoffs.SPLIT_FILES["hyperparams"]), ctx.config.problems) * len(
        plan_of(ctx).conditions
    )
