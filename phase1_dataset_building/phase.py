"""Phase 1: what the model writes, whether it is right, and the residual stream before it writes.

    python3 run.py phase 1 --model google/gemma-2-2b

1. Each problem becomes a prompt; a batch of prompts is generated greedily.
2. The pass that reads the prompts also gives the output of every block at the last prompt token.
3. The program is taken from the text and judged in the sandbox; the batch is saved.
"""

from typing import TYPE_CHECKING

from common import handoffs
from common.errors import ConfigError
from common.phase import Phase, RunContext
from phase1_dataset_building.config import GenerationConfig

if TYPE_CHECKING:
    from common.generation import Generation, Request
    from common.models import LanguageModel


def run(ctx: RunContext, config: GenerationConfig) -> None:
    from common.generation import check_prompts_fit
    from common.models import load_model
    from common.progress import Progress
    from common.sandbox import Sandbox
    from phase1_dataset_building.solutions import record_rows, record_tensors, requests_for, submit, summarize

    problems = ctx.read(handoffs.DIFFICULTY).table("difficulty.parquet")
    with ctx.write() as out:
        out.summarize = summarize
        if not out.n_wanted:  # the run that only joins what slices left needs no model
            return
        with Sandbox(isolation=config.sandbox, workers=config.sandbox_workers) as sandbox:
            ctx.log.info("%s", sandbox.line)
            if sandbox.describe()["level"] == 0:
                ctx.log.warning("programs run unconfined: they can read and write this user's files")
            ctx.log.info("loading %s", config.model)
            lm = load_model(config.model, ctx.device, config.dtype, config.threads)
            requests = requests_for(problems, config)
            check_prompts_fit(lm, requests)
            labels = [row["label"] for row in out.saved_rows]
            with Progress(out.end - out.start + 1, labels, ctx.log) as progress:
                for batch in out.batches(config.batch_size):
                    generations = _generate(lm, [requests[index] for index in batch], config)
                    pairs = zip(batch, generations, strict=True)
                    solutions = {i: submit(sandbox, problems[i], made) for i, made in pairs if out.wants(i)}
                    for index, solution in solutions.items():
                        rows = record_rows(problems[index], requests[index], solution, config)
                        out.append(index, rows, record_tensors(solution.generation))
                    progress.add([solution.label for solution in solutions.values()])
                    out.process |= {"model": lm.describe(), "sandbox": sandbox.describe()}


def _generate(lm: "LanguageModel", requests: "list[Request]", config: GenerationConfig) -> "list[Generation]":
    import torch

    from common.generation import generate

    try:
        return generate(
            lm, requests, max_new_tokens=config.max_new_tokens,
            temperature=config.temperature, positions=config.positions,
        )  # fmt: skip
    except torch.OutOfMemoryError as error:
        raise ConfigError(
            f"--batch-size {config.batch_size} is too much for the memory of this device\n"
            f"Give a smaller one with --fresh: batches decide the last bits of the activations"
        ) from error


def count_problems(ctx: RunContext) -> int:
    return ctx.read(handoffs.DIFFICULTY).manifest["files"]["difficulty.parquet"]["rows"]


PHASE = Phase(
    id="1",
    title="solutions, labels and activations",
    config=GenerationConfig,
    inputs=(handoffs.DIFFICULTY,),
    output=handoffs.GENERATIONS,
    run=run,
    n_records=count_problems,
)
