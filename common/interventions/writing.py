"""Programs that a changed model, or another one, writes: records of a problem and a condition each.

Which record is which problem and condition (see steering/conditions.py) is the phase's own order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from common.interventions.conditions import Condition
from common.interventions.records import Problem, steered_row
from common.model.generation import Generation
from common.model.language_model import LanguageModel
from common.phases.context import RunContext
from common.programs.settings import WritingConfig
from common.programs.solutions import Solution
from common.programs.writing import Draft, Earlier, Kept, Writer, write_programs
from common.runs.records import RecordWriter


@dataclass(frozen=True)
class Written:
    """One program, not judged yet. `columns` and `tensors` are what its record holds besides STEERING_FIELDS."""

    problem: Problem
    condition: Condition
    generation: Generation
    trajectory_kl: float
    columns: dict[str, Any] = field(default_factory=dict)
    tensors: dict[str, np.ndarray] = field(default_factory=dict)

    def draft(self, index: int, table: str) -> Draft:
        """This program as record `index` of a table."""

        def record(solution: Solution) -> Kept:
            row = steered_row(index, self.problem["task_id"], self.condition, solution, self.trajectory_kl)
            return {table: {**row, **self.columns}}, self.tensors

        return Draft(self.problem, self.generation, record)


def write_conditions(
    ctx: RunContext[WritingConfig], out: RecordWriter, model: str,
    begin: Callable[[LanguageModel], Writer[Written]], earlier: Earlier, table: str = "",
) -> None:  # fmt: skip
    """Compute the records of `out` that are not saved yet; see `common.programs.writing.write_programs`.

    They become rows of `table`; of the first one, where it is not named.
    """
    table = table or next(iter(out.handoff.tables))

    def begin_drafts(lm: LanguageModel) -> Writer[Draft]:
        writer = begin(lm)

        def write(batch: list[int]) -> list[Draft]:
            return [one.draft(i, table) for i, one in zip(batch, writer.write(batch), strict=True)]

        return Writer(write, writer.prompt_lengths, writer.n_bytes, writer.first)

    write_programs(ctx, out, model, begin_drafts, earlier)
