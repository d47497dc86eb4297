"""Phase 1: what the model writes, whether it is right, and the residual stream before it writes.

    python3 run.py phase 1 --model google/gemma-2-2b

1. Each problem becomes a prompt; a batch of prompts is generated greedily.
2. The pass that reads the prompts also gives the output of every block at the last prompt token.
3. The program is taken from the text and judged in the sandbox, while the next batch is generated.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from common import handoffs
from common.phase import Phase, RunContext
from common.records import RecordWriter, Stopped
from phase1_dataset_building.config import GenerationConfig

if TYPE_CHECKING:
    from common.generation import Generation, Request
    from common.models import LanguageModel
    from common.sandbox import Sandbox


def run(ctx: RunContext, config: GenerationConfig) -> None:
    from common.models import load_model
    from common.progress import Progress
    from common.sandbox import Sandbox
    from phase1_dataset_building.solutions import record_rows, record_tensors, requests_for, summarize

    problems = ctx.read(handoffs.DIFFICULTY).table("difficulty.parquet")
    with ctx.write() as out:
        out.summarize = summarize
        if not out.n_wanted:  # the run that only joins what slices left needs no model
            return
        with Sandbox(isolation=config.sandbox, workers=config.sandbox_workers) as sandbox:
            ctx.log.info("%s", sandbox.line)
            lm = load_model(config.model, ctx.device, config.dtype, config.threads)
            requests = requests_for(problems, config)
            labels = [row["label"] for row in out.saved_rows]
            with Progress(out.end - out.start + 1, labels, ctx.log) as progress:
                for index, solution in _solutions(out, lm, sandbox, problems, requests, config):
                    rows = record_rows(problems[index], requests[index], solution, config)
                    out.append(index, rows, record_tensors(solution.generation))
                    progress.add([solution.label])
                    out.session |= {"model": lm.describe(), "sandbox": sandbox.describe()}


def _solutions(
    out: RecordWriter, lm: "LanguageModel", sandbox: "Sandbox", problems: list[dict[str, Any]],
    requests: "list[Request]", config: GenerationConfig,
) -> Iterator[tuple[int, Any]]:  # fmt: skip
    """Every wanted solution with its index. A batch is judged while the next one is generated."""
    from common.generation import generate
    from phase1_dataset_building.solutions import submit

    judged: list[tuple[int, Any]] = []
    try:
        for batch in out.batches(config.batch_size):
            generations: list[Generation] = generate(
                lm, [requests[index] for index in batch], max_new_tokens=config.max_new_tokens,
                temperature=config.temperature, positions=config.positions,
            )  # fmt: skip
            pairs = zip(batch, generations, strict=True)
            submitted = [(i, submit(sandbox, problems[i], generation)) for i, generation in pairs if out.wants(i)]
            yield from judged
            judged = submitted
    except Stopped:
        yield from judged
        raise
    yield from judged


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
