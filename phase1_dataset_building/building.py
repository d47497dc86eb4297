"""Phase 1: what the model writes, whether it is right, and the residual stream before it writes.

    python3 run.py phase 1 --model google/gemma-2-2b

1. Each problem becomes a prompt. Records are numbered from the shortest prompt to the longest, which leaves batches
   little padding; programs are written side by side, greedily unless --temperature says otherwise. In the joined
   tables the problems stand in the order of the dataset.
2. The pass that reads the prompts also gives the output of every block at the last prompt token.
3. The program is taken from the text and judged in the sandbox as soon as it has ended, and saved with others.
"""

from typing import Any

from common import handoffs
from common.evaluation.statistics import wilson_interval
from common.model.chat import chat_template_for
from common.phases.context import RunContext
from common.programs.solutions import request_for
from common.programs.writing import write_solutions
from phase1_dataset_building.config import GenerationConfig


def run(ctx: RunContext[GenerationConfig], config: GenerationConfig) -> None:
    problems = ctx.read(handoffs.DIFFICULTY).table("difficulty.parquet")
    place = {problem["task_id"]: number for number, problem in enumerate(problems)}
    with ctx.write() as out:
        out.summarize = summarize
        out.row_key = lambda row: place[row["task_id"]]
        if out.n_wanted:  # the run that only joins what slices left needs no model
            chat = chat_template_for(config.prompt, config.model, config.revision)
            requests = [request_for(problem, config.seed, config.temperature, chat=chat) for problem in problems]
            write_solutions(ctx, out, requests, config, config.positions, shortest_first=True)


def summarize(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Headline figures for the manifest: pass rate with its 95 % Wilson interval."""
    labels = [row["label"] for row in rows]
    n_correct, n_judged = labels.count("correct"), labels.count("correct") + labels.count("incorrect")
    summary: dict[str, Any] = {"programs": len(rows), "correct": n_correct}
    if n_judged:
        interval = wilson_interval(n_correct, n_judged)
        summary |= {"pass_rate": n_correct / n_judged, "pass_rate_95_percent_interval": list(interval)}
    others = {label: labels.count(label) for label in ("not_run", "unsupported") if label in labels}
    return summary | others
