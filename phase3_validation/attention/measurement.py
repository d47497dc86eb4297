"""Phase 3.4: where the last prompt token looks, and how steering moves that.

    python3 run.py phase 3.4 --model google/gemma-2-2b

1. Every prompt of the validation split is read unsteered, with each direction at the layer, site and coefficient
   that phase 3.2 chose, and with random directions of the same length (reading.py). Labels are not read.
2. The attention of the last prompt token, head by head, is summed over the sections of the prompt (sections.py).
3. Means and changes get intervals over problems, and every head and section its rank among the random directions
   (movement.py, results.py): what is beyond all of them is a finding.

It takes one pass of the prompts and one token for each direction, and is not cut into slices. Any model will do whose
blocks have attention and give its weights (heads.py); blocks without, in hybrids, are left out. What attention
suggests, phase 3.7 tests.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from common import handoffs
from common.evaluation.bootstrap import draws_of_problems
from common.handoffs.changes import AttentionDocument
from common.interventions.conditions import Condition, mean_norms, steering_vectors
from common.interventions.fitted import steered_directions, with_vectors
from common.interventions.steered_generation import SteeringVector
from common.model.chat import chat_template_for
from common.model.generation import prompt_lengths
from common.model.language_model import LanguageModel
from common.model.loading import load_model
from common.model.memory import FittingParts, batch_bytes
from common.phases.context import RunContext
from common.problems.prompt import Prompt, build_prompt
from common.progress import Progress
from common.runs.discovery import describe
from common.runs.records import cut_batches
from common.saes.encoder import load_sae
from common.saes.sources import sae_source
from phase3_validation.attention import figures, reading, results, words
from phase3_validation.attention.config import AttentionConfig
from phase3_validation.attention.heads import find_heads
from phase3_validation.attention.results import Measured
from phase3_validation.attention.sections import SECTIONS, section_words

PROMPTS_TRIED = 4  # with the model's own attention and with eager attention


def run(ctx: RunContext[AttentionConfig], config: AttentionConfig) -> None:
    problems = ctx.read(handoffs.SPLIT).table(handoffs.SPLIT_FILES["validation"])
    coefficients = ctx.read(handoffs.COEFFICIENTS).document()
    directions = steered_directions(ctx.read(handoffs.LATENTS), list(coefficients.directions))
    directions = with_vectors(directions, ctx.read(handoffs.COEFFICIENTS))
    conditions = results.make_conditions(coefficients.directions, config.n_random)
    norms = mean_norms(ctx.read(handoffs.GENERAL_TEXT))
    load = partial(load_sae, sae_source(config.sae, config.model, config.sae_revision))
    with ctx.write() as out:
        lm = load_model(config.model, ctx.device, config.dtype, config.threads, revision=config.revision)
        added = steering_vectors(conditions, directions, load, norms, seed=config.seed, d_model=lm.d_model)
        chat = chat_template_for(config.prompt, config.model, config.revision)
        prompts = [build_prompt(problem["text"], problem["test_list"], chat) for problem in problems]
        measured, asked = measure(
            ctx,
            lm,
            prompts,
            [problem["task_id"] for problem in problems],
            conditions,
            added,
            steer_prompt=coefficients.steer == "all",
        )
        out.process |= {"model": lm.describe(), "eager_differs_by": asked.pop("eager_differs_by")}
        out.columns("attention.parquet", measured.attention_columns())
        out.columns("controls.parquet", measured.control_columns())
        out.columns("head_controls.parquet", measured.head_control_columns())
        draws = draws_of_problems(len(problems), config.n_resamples, config.seed)
        result = AttentionDocument(
            experiment=out.identity["experiment"],
            n=len(problems),
            seed=config.seed,
            n_resamples=config.n_resamples,
            steer=coefficients.steer,
            sections=list(measured.sections),
            directions=results.moved_by(measured, coefficients, norms, draws),
            **asked,
            sentences=[],
            tables=[],
        )
        result = replace(result, sentences=words.sentences(result), tables=words.tables(result))
        out.document("attention.json", result)
        title = f"{describe(out.schema, out.identity['experiment'])}, validation split"
        for name, data in figures.all_figures(result, title).items():
            out.file(f"figures/{name}", data)
        out.summary = {"problems": len(problems)} | {
            name: words.in_short(entry) for name, entry in result.directions.items()
        }
        for sentence in result.sentences:
            ctx.log.info("%s", sentence)


def measure(
    ctx: RunContext[AttentionConfig],
    lm: LanguageModel,
    prompts: list[Prompt],
    task_ids: list[int],
    conditions: list[Condition],
    added: list[SteeringVector | None],
    *,
    steer_prompt: bool,
) -> tuple[Measured, dict[str, Any]]:
    """Attention under every condition; what the model is asked first: words for sections, layers without attention."""
    first_steered = min((v.layer for v in conditions[1:]), default=lm.n_layers)
    asked = {
        "section_words": section_words(reading.begins_with_bos(lm, prompts)),
        "layers_without_attention": [],
        "eager_differs_by": None,
    }
    if first_steered == lm.n_layers:  # nothing is steered
        nothing = np.zeros((len(added), len(prompts), 0, 0, 0))
        return Measured(task_ids, conditions, [], [], nothing), asked
    heads = find_heads(lm)
    layers = [layer for layer in heads.modules if layer >= first_steered]
    asked["layers_without_attention"] = sorted(set(range(first_steered, lm.n_layers)) - set(layers))
    sections = reading.sections_present(lm, prompts, heads)
    asked["eager_differs_by"] = reading.eager_differs_by(lm, prompts[:PROMPTS_TRIED])

    def read(some: list[Prompt]) -> np.ndarray:
        return reading.read_attention(lm, some, added, layers, steer_prompt=steer_prompt, heads=heads)

    attention = in_batches(ctx, lm, prompts, read)[..., [SECTIONS.index(name) for name in sections]]
    return Measured(task_ids, conditions, layers, sections, attention), asked


def in_batches(
    ctx: RunContext[AttentionConfig],
    lm: LanguageModel,
    prompts: list[Prompt],
    read: Callable[[list[Prompt]], np.ndarray],
) -> np.ndarray:
    """What `read` gives for all prompts, [conditions, prompts, ...], in batches that fit."""
    lengths = prompt_lengths(lm, prompts)

    def width(part: list[int]) -> int:
        return max(lengths[index] for index in part)

    fitting = FittingParts[int, np.ndarray](
        lambda part: list(np.moveaxis(read([prompts[index] for index in part]), 1, 0)),
        size=lambda part: len(part) * width(part),
        expected=lambda part: batch_bytes(lm.model, len(part), width(part), 0),
        name=lambda index: f"prompt {index}, of {lengths[index]} tokens,",
        device=lm.device,
        log=ctx.log,
    )
    parts: list[np.ndarray] = []
    with Progress(len(prompts), [], ctx.log, unit="prompts") as progress:
        for batch in cut_batches(lengths, ctx.config.batch_size):
            parts += fitting(batch)
            progress.add(["read"] * len(batch))
    return np.stack(parts, axis=1)
