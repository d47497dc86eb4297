"""Programs that a changed model, or another one, writes: generated in batches, judged, and kept as records.

For phases whose records are a problem and a variant each (see steering/variants.py), in an order of their own.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from common.models import explain_lack_of_memory, load_model
from common.progress import Progress
from common.sandbox import Sandbox
from common.solutions import submit
from phase3_validation.steering.records import Earlier, Problem, steered_row

if TYPE_CHECKING:
    import numpy as np

    from common.config import SolutionConfig
    from common.generation import Generation
    from common.models import LanguageModel
    from common.phase import RunContext
    from common.records import RecordWriter
    from phase3_validation.steering.variants import Variant


@dataclass(frozen=True)
class Written:
    """One program, not judged yet. `columns` and `tensors` are what its record holds besides STEERING_FIELDS."""

    problem: Problem
    variant: Variant
    generation: Generation
    kl: float
    columns: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, np.ndarray] = field(default_factory=dict)


WriteBatch = Callable[[list[int]], list[Written]]


def write_programs(
    ctx: RunContext, out: RecordWriter, model: str, begin: Callable[[LanguageModel], WriteBatch], earlier: Earlier
) -> None:
    """Compute the records of `out` that are not saved yet.

    `begin` is given the model once it is loaded, and returns what writes the programs of a batch of records.
    """
    config: SolutionConfig = ctx.config
    table = next(iter(out.handoff.tables))
    with Sandbox(isolation=config.sandbox, workers=config.sandbox_workers) as sandbox:
        ctx.log.info("%s", sandbox.line)
        if sandbox.describe()["level"] == 0:
            ctx.log.warning("programs run unconfined: they can read and write this user's files")
        ctx.log.info("loading %s", model)
        lm = load_model(model, ctx.device, config.dtype, config.threads)
        write = begin(lm)
        labels = [row["label"] for row in out.saved_rows]
        with Progress(out.end - out.start + 1, labels, ctx.log) as progress:
            for batch in out.batches(config.batch_size):
                with explain_lack_of_memory(config.batch_size):
                    written = zip(batch, write(batch), strict=True)
                made = {index: one for index, one in written if out.wants(index)}
                solutions = {
                    index: submit(sandbox, one.problem, one.generation, earlier.get(one.problem["task_id"]))
                    for index, one in made.items()
                }
                for index, solution in solutions.items():
                    one = made[index]
                    row = steered_row(index, one.problem["task_id"], one.variant, solution, one.kl)
                    out.append(index, {table: {**row, **one.columns}}, one.tensors)
                progress.add([solution.label for solution in solutions.values()])
                out.process |= {"model": lm.describe(), "sandbox": sandbox.describe()}
