"""Phase 3.4: where the last prompt token looks, and how steering moves that.

    python3 run.py phase 3.4 --model google/gemma-2-2b

1. Every prompt of the validation split is read unsteered, with each direction at the layer, site and coefficient
   that phase 3.2 chose, and with random directions of the same length (reading.py). Labels are not read.
2. The attention of the last prompt token, head by head, is summed over the sections of the prompt (sections.py).
3. Means and changes get intervals over problems (movement.py, results.py).

It takes one pass of the prompts and one token for each direction, and is not cut into slices. What attention
suggests, phase 3.7 tests.
"""

import json
from typing import TYPE_CHECKING

from common import handoffs
from common.discovery import describe
from common.phase import Phase, RunContext
from common.progress import Progress
from phase3_validation.attention.config import AttentionConfig
from phase3_validation.config import VALIDATION

if TYPE_CHECKING:
    import numpy as np

    from common.models import LanguageModel
    from common.prompts import Prompt
    from common.steered_generation import Push


def run(ctx: RunContext, config: AttentionConfig) -> None:
    from common.chat import chat_template_for
    from common.models import load_model
    from common.prompts import build_prompt
    from common.sae_sources import sae_source
    from phase3_validation.attention import figures, results, words
    from phase3_validation.directions import selected_directions
    from phase3_validation.steering.variants import mean_norms, pushes

    problems = ctx.read(handoffs.SPLIT).table(VALIDATION)
    coefficients = json.loads(ctx.read(handoffs.COEFFICIENTS).file("coefficients.json").read_bytes())
    directions = selected_directions(ctx.read(handoffs.LATENTS), list(coefficients["directions"]))
    variants = results.make_variants(coefficients["directions"], config.n_random)
    norms, load_sae = mean_norms(ctx.read(handoffs.GENERAL_TEXT)), sae_source(config.sae, config.model, config.sae_revision).load
    with ctx.write() as out:
        lm = load_model(config.model, ctx.device, config.dtype, config.threads, revision=config.revision)
        added = pushes(variants, directions, load_sae, norms, seed=config.seed, d_model=lm.d_model)
        chat = chat_template_for(config.prompt, config.model, config.revision)
        prompts = [build_prompt(problem["text"], problem["test_list"], chat) for problem in problems]
        layers = list(range(min((variant.layer for variant in variants[1:]), default=lm.n_layers), lm.n_layers))
        attention, eager = measure(ctx, lm, prompts, added, layers, steer_prompt=coefficients["steer"] == "all")
        out.process |= {"model": lm.describe(), "eager_differs_by": eager}
        measured = results.Measured([problem["task_id"] for problem in problems], variants, layers, attention)
        out.columns("attention.parquet", measured.attention_columns())
        out.columns("controls.parquet", measured.control_columns())
        found = results.as_json(measured, coefficients, norms, config, out.identity["experiment"])
        found |= {"sentences": words.sentences(found), "tables": words.tables(found)}
        out.json("attention.json", found)
        title = f"{describe(out.handoff, out.identity['experiment'])}, validation split"
        for name, data in figures.all_figures(found, title).items():
            out.file(f"figures/{name}", data)
        out.summary = {"problems": len(problems)} | {
            name: words.in_short(entry) for name, entry in found["directions"].items()
        }
        for sentence in found["sentences"]:
            ctx.log.info("%s", sentence)


def measure(
    ctx: RunContext, lm: "LanguageModel", prompts: list["Prompt"], added: list["Push | None"], layers: list[int],
    *, steer_prompt: bool,
) -> tuple["np.ndarray", float | None]:  # fmt: skip
    """Attention [variants, problems, layers, heads, sections], and what `be_eager` found."""
    import numpy as np

    from common.models import explain_lack_of_memory
    from phase3_validation.attention.reading import be_eager, read_attention
    from phase3_validation.attention.sections import SECTIONS

    size, parts = ctx.config.batch_size, []
    if not layers:  # nothing is steered
        return np.zeros((len(added), len(prompts), 0, 0, len(SECTIONS))), None
    with explain_lack_of_memory(size), Progress(len(prompts), [], ctx.log, unit="prompts") as progress:
        eager = be_eager(lm, prompts[:size])
        for first in range(0, len(prompts), size):
            batch = prompts[first : first + size]
            parts.append(read_attention(lm, batch, added, layers, steer_prompt=steer_prompt))
            progress.add(["read"] * len(batch))
    return np.concatenate(parts, axis=1), eager


PHASE = Phase(
    id="3.4",
    title="where the last prompt token looks, and how steering moves that",
    config=AttentionConfig,
    inputs=(handoffs.SPLIT, handoffs.GENERAL_TEXT, handoffs.LATENTS, handoffs.COEFFICIENTS),
    output=handoffs.ATTENTION,
    run=run,
)
