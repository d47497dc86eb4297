"""Phase 3.5: what a model writes that cannot write a direction, on the validation split.

    python3 run.py phase 3.5 --model google/gemma-2-2b

1. For each direction, and for each of its controls (latents along which the stream varies as much: controls.py), the
   direction is taken out of every matrix that writes to the residual stream (weights.py). On every prompt it is
   measured what the components still write along it.
2. The model writes the programs of the split, and gets its weights back.
3. What changed, with the statistics of phase 3.3: intervals, matched latents, correction for the number of directions.

Record i is condition i // n, problem i % n, of n problems: the weights change once for each condition.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from common import handoffs
from common.handoffs.changes import OrthogonalisationDocument
from common.handoffs.steering import MATCHED_LATENT, Match, UnsteeredRate
from common.interventions.conditions import ITSELF, UNSTEERED, Condition, rows_by_condition
from common.interventions.controls import candidates_of
from common.interventions.directions import Direction, selected_directions, unit_decoder_row
from common.interventions.outcomes import effect, paired
from common.interventions.sampling import n_spaced, spaced
from common.interventions.steered_rows import agreement, steered_draft, warn_of_another_limit
from common.model.chat import chat_template_for
from common.model.generation import check_prompts_fit
from common.model.language_model import LanguageModel
from common.model.registry import default_dtype
from common.phases.command_line import build_command
from common.phases.context import RunContext
from common.programs.greedy import greedy_programs
from common.programs.solutions import request_for
from common.programs.writing import Draft, ProgramWriter, batch_by_batch, write_programs
from common.runs.records import RecordWriter
from common.saes.activations import StoredText
from common.saes.encoder import load_sae
from common.saes.sources import sae_source
from phase3_validation.held_out_use import note_use
from phase3_validation.orthogonalisation import figures, findings
from phase3_validation.orthogonalisation.config import OrthogonalisationConfig
from phase3_validation.orthogonalisation.controls import controls_by_variance
from phase3_validation.orthogonalisation.programs import generate_orthogonalised
from phase3_validation.orthogonalisation.weights import bytes_of_writers, write_limit
from phase3_validation.steering.examples import examples

TABLE = "orthogonalised.parquet"


@dataclass(frozen=True)
class RemovalPlan:
    """What is taken away: a direction's own, and its controls' by index, which match it in the variance they remove."""

    directions: list[Direction]
    own: dict[str, Condition]
    controls: dict[str, dict[int, Condition]]
    matches: dict[str, Match]

    @property
    def conditions(self) -> list[Condition]:
        """All of them, the unchanged model first."""
        conditions = [UNSTEERED]
        for name, condition in self.own.items():
            conditions += [condition, *self.controls[name].values()]
        return conditions


def plan_of(ctx: RunContext[OrthogonalisationConfig]) -> RemovalPlan:
    """Raises: ConfigError when a direction has no control."""
    latents, config = ctx.read(handoffs.LATENTS), ctx.config
    columns = latents.columns("latents.parquet")
    directions = selected_directions(latents, config.directions)
    source = sae_source(config.sae, config.model, config.sae_revision)
    text = StoredText(
        ctx.read(handoffs.GENERAL_TEXT), build_command(handoffs.GENERAL_TEXT, config, ctx.preset, ctx.data_dir)
    )
    own, controls, matches = {}, {}, {}
    for d in directions:
        sae, resid = load_sae(source, d.layer), text.every_of_layer(d.layer)
        indices, matches[d.name] = controls_by_variance(d, columns, latents.document(), sae, resid, config.n_controls)
        own[d.name] = Condition(d.name, ITSELF, -1, d.layer, site="", coefficient=0.0)
        controls[d.name] = {
            index: Condition(d.name, MATCHED_LATENT, index, d.layer, site="", coefficient=0.0) for index in indices
        }
    return RemovalPlan(directions, own, controls, matches)


def run(ctx: RunContext[OrthogonalisationConfig], config: OrthogonalisationConfig) -> None:
    plan, generations = plan_of(ctx), ctx.read(handoffs.GENERATIONS)
    readings = note_use(ctx, config.reuse_validation)
    for name, controls in plan.controls.items():
        if len(controls) < config.n_controls:
            ctx.log.warning("%s: its layer has %d of %d matched latents", name, len(controls), config.n_controls)
    earlier = greedy_programs(generations.table("dataset.parquet"))
    problems = spaced(ctx.read(handoffs.SPLIT).table(handoffs.SPLIT_FILES["validation"]), config.problems)
    with ctx.write() as out:
        out.conclude = lambda: conclude(ctx, out, plan, earlier, readings)
        if out.n_wanted:  # the run that only joins what slices left needs no model
            warn_of_another_limit(ctx, generations)
            write_programs(
                ctx, out, config.model, lambda lm: batch_writer(lm, config, plan, problems, earlier), earlier
            )


def batch_writer(
    lm: LanguageModel,
    config: OrthogonalisationConfig,
    plan: RemovalPlan,
    problems: list[dict[str, Any]],
    earlier: dict[int, dict[str, Any]],
) -> ProgramWriter:
    """Writes the programs of a batch of records; rows of different conditions are generated apart."""
    unchanged = [earlier[problem["task_id"]]["token_ids"][: config.max_new_tokens] for problem in problems]
    chat = chat_template_for(config.prompt, config.model, config.revision)
    requests = [request_for(problem, config.seed, chat=chat) for problem in problems]
    lengths = check_prompts_fit(lm, requests)
    conditions, vectors = plan.conditions, unit_vectors(config, plan)

    def write(batch: list[int]) -> list[Draft]:
        drafts = []
        for number, group in itertools.groupby(batch, key=lambda index: index // len(problems)):
            indices = list(group)
            places = [index % len(problems) for index in indices]
            programs = generate_orthogonalised(
                lm,
                [requests[place] for place in places],
                vectors[number],
                [unchanged[place] for place in places],
                max_new_tokens=config.max_new_tokens,
            )
            for index, place, one in zip(indices, places, programs, strict=True):
                columns = {"share_before": one.share_before, "share": one.share, "component": one.component}
                kl = one.trajectory_kl
                drafts.append(
                    steered_draft(TABLE, index, problems[place], conditions[number], one.generation, kl, columns)
                )
        return drafts

    return ProgramWriter(batch_by_batch(write), lengths * len(conditions), bytes_of_writers(lm.model))


def unit_vectors(config: OrthogonalisationConfig, plan: RemovalPlan) -> list[Float[Tensor, " d_model"] | None]:
    """What each condition takes away: the decoder row of its latent, of length 1. Only these rows of an SAE stay."""
    source, vectors = sae_source(config.sae, config.model, config.sae_revision), {}
    for layer in sorted({direction.layer for direction in plan.directions}):
        sae = load_sae(source, layer)
        for direction in plan.directions:
            if direction.layer == layer:
                vectors[plan.own[direction.name]] = unit_decoder_row(sae, direction.latent)
                for index, condition in plan.controls[direction.name].items():
                    vectors[condition] = unit_decoder_row(sae, index)
    return [vectors.get(condition) for condition in plan.conditions]


def conclude(
    ctx: RunContext[OrthogonalisationConfig], out: RecordWriter, plan: RemovalPlan, earlier: dict[int, dict[str, Any]],
    readings: int,
) -> None:  # fmt: skip
    """Write orthogonalisation.json, examples.json and the figure, which follow from all records."""
    rows = rows_by_condition(out.joined_rows())
    before, baseline = rows[UNSTEERED], paired(rows[UNSTEERED], rows[UNSTEERED])
    entries = findings.entries(plan.directions, before, rows, plan.own, plan.controls, plan.matches)
    verification = findings.verification(rows, plan.own, plan.controls, limit_of(ctx))
    result = OrthogonalisationDocument(
        experiment=out.identity["experiment"],
        split="validation",
        n=len(before),
        readings=readings,
        baseline=UnsteeredRate(n_correct=baseline.n_correct_before, pass_rate=effect(baseline).pass_rate),
        agrees_with_phase_1=agreement(before, earlier),
        verification=verification,
        directions=entries,
        sentences=findings.sentences(verification, entries),
        tables=findings.tables(verification, entries),
    )
    out.document("orthogonalisation.json", result)
    texts = {
        problem["task_id"]: problem["text"]
        for problem in ctx.read(handoffs.SPLIT).table(handoffs.SPLIT_FILES["validation"])
    }
    out.document("examples.json", {name: examples(before, rows[own], texts) for name, own in plan.own.items()})
    out.file("figures/orthogonalisation.svg", figures.among_matched(entries))
    for sentence in result.sentences:
        ctx.log.info("%s", sentence)
    out.summary = {"problems": len(before), "conditions": len(rows)}
    out.summary |= {name: str(entry.verdict) for name, entry in entries.items()}


def limit_of(ctx: RunContext[OrthogonalisationConfig]) -> float:
    """What a component may still write, at the number type that the model has here."""
    dtype = ctx.config.dtype
    return write_limit(getattr(torch, default_dtype(ctx.config.model, ctx.device) if dtype == "auto" else dtype))


def count_records(ctx: RunContext[OrthogonalisationConfig]) -> int:
    """Without choosing the controls, for which SAEs and activations have to be read."""
    latents, config = ctx.read(handoffs.LATENTS), ctx.config
    columns = latents.columns("latents.parquet")
    directions = selected_directions(latents, config.directions)
    candidates = [len(candidates_of(d, columns, latents.document())) for d in directions]
    n_conditions = 1 + sum(1 + min(config.n_controls, n) for n in candidates)
    return n_spaced(ctx.read(handoffs.SPLIT).n_rows(handoffs.SPLIT_FILES["validation"]), config.problems) * n_conditions
