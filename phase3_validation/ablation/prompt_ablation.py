"""Phase 3.7: what the tests and the description in the prompt do, to the programs and to the selected latents.

    python3 run.py phase 3.7 --model google/gemma-2-2b

1. Each problem of the validation split is given with its whole prompt and with parts of it taken away (prompts.py).
2. The programs are judged by the problem's own tests, whatever tests the prompt showed.
3. The pass that reads the prompt gives the activations of the selected latents at its last token.
4. Each ablation is compared with the whole prompt, problem by problem (outcomes.py).

Record i is problem i // n, ablation i % n, of n ablations.
"""

from dataclasses import replace
from typing import Any

import torch

from common import handoffs
from common.handoffs.changes import AblationDocument
from common.interventions.directions import Direction, selected_directions
from common.interventions.sampling import n_spaced, spaced
from common.interventions.steered_rows import agreement, warn_of_another_limit
from common.model.chat import chat_template_for
from common.model.rows import Request
from common.phases.context import RunContext
from common.programs.greedy import greedy_programs
from common.programs.solutions import Solution, record_rows
from common.programs.writing import write_solutions
from common.runs.discovery import describe
from common.runs.records import RecordWriter
from common.saes.encoder import load_sae
from common.saes.sources import SaeSource, sae_source
from common.seeds import record_seed
from phase3_validation.ablation import outcomes, words
from phase3_validation.ablation.config import NONE, AblationConfig
from phase3_validation.ablation.figure import draw
from phase3_validation.ablation.outcomes import pass_rate
from phase3_validation.ablation.prompts import ablated_prompt, circle_of
from phase3_validation.held_out_use import note_use

TABLE = "ablation.parquet"
ROWS_ENCODED_TOGETHER = 256


def run(ctx: RunContext[AblationConfig], config: AblationConfig) -> None:
    directions = selected_directions(ctx.read(handoffs.LATENTS))
    source, generations = sae_source(config.sae, config.model, config.sae_revision), ctx.read(handoffs.GENERATIONS)
    earlier = greedy_programs(generations.table("dataset.parquet"))
    requests = requests_for(
        spaced(ctx.read(handoffs.SPLIT).table(handoffs.SPLIT_FILES["validation"]), config.problems), config
    )
    n_readings = note_use(ctx, config.reuse_validation)
    with ctx.write() as out:
        out.summarize = lambda rows: {
            "programs": len(rows),
            **{f"pass_rate_{name}": pass_rate(rows, name).value for name in config.ablations},
        }
        out.conclude = lambda: conclude(ctx, out, directions, source, earlier, n_readings)
        if out.n_wanted:  # the run that only joins what slices left needs no model
            layers = _layers(directions)
            for layer in layers:
                load_sae(source, layer)  # an SAE that is missing is better found now than after hours of work
            warn_of_another_limit(ctx, generations)
            write_solutions(
                ctx,
                out,
                requests,
                config,
                ["last"],
                earlier=earlier,
                record=lambda index, request, solution: record_of(index, request, solution, config.ablations, layers),
            )


def requests_for(problems: list[dict[str, Any]], config: AblationConfig) -> list[Request]:
    """What is asked for every record."""
    requests, chat = [], chat_template_for(config.prompt, config.model, config.revision)
    for problem, donor in zip(problems, circle_of(problems, config.seed, config.ablations), strict=True):
        seed = record_seed(config.seed, problem["task_id"], 0.0, 0)
        for ablation in config.ablations:
            requests.append(Request(problem, ablated_prompt(ablation, problem, donor, chat), seed))
    return requests


def record_of(
    index: int, request: Request, solution: Solution, ablations: tuple[str, ...], layers: list[int]
) -> tuple[dict, dict]:
    """The row and the arrays of one record: of the residual stream, `layers` are kept."""
    which = {"record": index, "ablation": ablations[index % len(ablations)]}
    resid = solution.generation.resid_post["last"]
    tensors = {f"activations/layer_{layer:02d}/resid_post": resid[layer] for layer in layers}
    row, _ = record_rows(request, solution)
    return {TABLE: {**which, **row}}, tensors


def conclude(
    ctx: RunContext[AblationConfig],
    out: RecordWriter,
    directions: list[Direction],
    source: SaeSource,
    earlier: dict[int, dict[str, Any]],
    n_readings: int,
) -> None:
    """Write activations.parquet, prompt_ablation.json and the figure. `earlier` are the programs of phase 1."""
    config, rows = ctx.config, out.joined_rows()
    measured = latent_activations(out, rows, directions, source)
    out.table("activations.parquet", measured)
    entry_points = {
        row["task_id"]: row["entry_point"] for row in ctx.read(handoffs.SPLIT).table(handoffs.SPLIT_FILES["validation"])
    }
    whole = [row for row in rows if row["ablation"] == NONE]
    result = AblationDocument(
        experiment=out.identity["experiment"],
        n=len(whole),
        readings=n_readings,
        seed=config.seed,
        n_resamples=config.n_resamples,
        agrees_with_phase_1=agreement(whole, earlier),
        ablations=outcomes.ablations(rows, config.ablations, entry_points),
        directions=outcomes.directions(rows, measured, directions, config),
        sentences=[],
        tables=[],
    )
    result = replace(result, sentences=words.sentences(result), tables=words.tables(result))
    out.document("prompt_ablation.json", result)
    title = f"{describe(out.schema, out.identity['experiment'])}, validation split"
    out.file("figures/prompt_ablation.svg", draw(result, title))
    for sentence in [*result.sentences, *words.form_of_the_prompt(result), *words.against_the_programs(result)]:
        ctx.log.info("%s", sentence)


def latent_activations(
    out: RecordWriter, rows: list[dict[str, Any]], directions: list[Direction], source: SaeSource
) -> list[dict[str, Any]]:
    """The rows of activations.parquet: record by record, each with all directions."""
    columns: dict[str, list[float]] = {}
    for layer in _layers(directions):
        sae = load_sae(source, layer)
        resid = torch.from_numpy(out.joined_tensor(f"activations/layer_{layer:02d}/resid_post"))
        here = [direction for direction in directions if direction.layer == layer]
        latents = [direction.latent for direction in here]
        parts = [sae.encode(part)[:, latents] for part in resid.split(ROWS_ENCODED_TOGETHER)]
        for direction, values in zip(here, torch.cat(parts).T.tolist(), strict=True):
            columns[direction.name] = values
    return [
        {
            "task_id": row["task_id"],
            "ablation": row["ablation"],
            "direction": direction.name,
            "activation": columns[direction.name][number],
        }
        for number, row in enumerate(rows)
        for direction in directions
    ]


def _layers(directions: list[Direction]) -> list[int]:
    return sorted({direction.layer for direction in directions})


def count_programs(ctx: RunContext[AblationConfig]) -> int:
    return n_spaced(ctx.read(handoffs.SPLIT).n_rows(handoffs.SPLIT_FILES["validation"]), ctx.config.problems) * len(
        ctx.config.ablations
    )
