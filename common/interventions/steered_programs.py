"""Programs written while something is added to the residual stream: records of a problem and a condition each.

Where a program is the very one that phase 1 wrote, so are its label and error: nothing is run twice.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

from common.errors import ConfigError
from common.interventions.conditions import Condition, steering_vectors
from common.interventions.directions import Direction
from common.interventions.settings import SteeredConfig
from common.interventions.steered_generation import Steering, SteeringVector, trajectory_kls
from common.interventions.steered_rows import steered_draft
from common.model.chat import chat_template_for
from common.model.generation import Group, check_prompts_fit
from common.model.language_model import LanguageModel
from common.model.rows import Generation, Request
from common.phases.context import RunContext
from common.problems.problem import ProblemRow
from common.programs.in_flight import RowLimit, rows_in_flight
from common.programs.solutions import request_for
from common.programs.writing import Draft, Earlier, ProgramWriter, write_programs
from common.runs.records import RecordWriter
from common.saes.encoder import load_sae
from common.saes.sources import sae_source


@dataclass(frozen=True)
class SteeringPlan:
    """What is added, the unsteered condition first; `norms` are those of `conditions.mean_norms`."""

    conditions: list[Condition]
    directions: list[Direction]
    norms: dict[tuple[int, str], float]


def write_steered(
    ctx: RunContext[SteeredConfig],
    out: RecordWriter,
    problems: Sequence[ProblemRow],
    plan: SteeringPlan,
    earlier: Earlier,
    steer_prompt: bool,
    *,
    first: int = 0,
    table: str = "steering.parquet",
    disturbance: bool = True,
) -> None:
    """Compute what `out` wants of these records: record first + i is problem i // n, condition i % n, of n conditions.

    See `conditions.steering_vectors` for what is added. Without `disturbance` that is NaN, and takes no time. Where no
    record is wanted, no model is loaded.
    """
    if not any(map(out.wants, range(first, first + len(problems) * len(plan.conditions)))):
        return
    config, conditions = ctx.config, plan.conditions
    load = partial(load_sae, sae_source(config.sae, config.model, config.sae_revision))

    def begin(lm: LanguageModel) -> ProgramWriter:
        chat = chat_template_for(config.prompt, config.model, config.revision)
        requests = [request_for(problem, config.seed, chat=chat) for problem in problems]
        lengths = check_prompts_fit(lm, requests)
        added = steering_vectors(conditions, plan.directions, load, plan.norms, seed=config.seed, d_model=lm.d_model)
        writer = _SteeredWriter(lm, requests, added, out, config.max_new_tokens, steer_prompt, first)

        def write(batches: Iterator[list[int]], limit: RowLimit[int]) -> Iterator[tuple[int, Draft]]:
            for index, generation, kl in writer.write(batches, limit, disturbance):
                problem, condition = divmod(index - first, len(conditions))
                yield index, steered_draft(table, index, problems[problem], conditions[condition], generation, kl)

        return ProgramWriter(write, [length for length in lengths for _ in conditions], first=first)

    write_programs(ctx, out, config.model, begin, earlier)


@dataclass(frozen=True)
class _Asked:
    """The program of a record's problem under a condition: the record's own, or the unsteered one beside it."""

    record: int
    condition: int


@dataclass
class _Batch:
    """Records that were begun together: their programs, and those of their problems' unsteered ones."""

    records: list[int]
    lacking: set[_Asked]
    made: dict[_Asked, Generation] = field(default_factory=dict)


@dataclass(frozen=True)
class _SteeredWriter:
    """Record first + i is request i // n, vector i % n, of n vectors."""

    lm: LanguageModel
    requests: Sequence[Request]
    vectors: Sequence[SteeringVector | None]
    out: RecordWriter
    max_new_tokens: int
    steer_prompt: bool
    first: int

    def write(
        self, batches: Iterator[list[int]], limit: RowLimit[int], disturbance: bool
    ) -> Iterator[tuple[int, Generation, float]]:
        """Programs of the wanted records, a batch as soon as all of it is written, with the vectors' disturbance."""
        begun: dict[_Asked, _Batch] = {}
        aside: list[_Batch] = []
        steering = Steering(self.lm, self.vectors, max_new_tokens=self.max_new_tokens, steer_prompt=self.steer_prompt)

        def asked() -> Iterator[list[_Asked]]:
            for records in batches:
                batch = self._begin(records, disturbance)
                begun.update(dict.fromkeys(batch.lacking, batch))
                yield sorted(batch.lacking, key=lambda one: (one.record, one.condition))

        # `trajectory_kls` takes as many at a time as it may: fewer only where memory has run out.
        of_records: RowLimit[tuple[_Batch, int]] = limit.of(lambda one: one[1])
        fitting = of_records.fitting(self._kls, expected=0)

        def measured(batch: _Batch) -> list[float]:
            with steering.paused():
                return fitting([(batch, record) for record in batch.records]) if disturbance else []

        def read(some: list[_Asked]) -> Group:
            return steering.read({one: (self.requests[self._place(one.record)[0]], one.condition) for one in some})

        with steering.hooks():
            for row in rows_in_flight(self.lm, asked(), limit.of(lambda one: one.record), read, steering.arrange):
                batch = begun.pop(row.key)
                batch.lacking.remove(row.key)
                batch.made[row.key] = row.result
                if not batch.lacking:
                    try:
                        kls = measured(batch)
                    except ConfigError:  # not beside the rows in flight
                        aside.append(batch)
                    else:
                        yield from self._records(batch, kls)
        for batch in aside:
            yield from self._records(batch, measured(batch))

    def _begin(self, records: list[int], disturbance: bool) -> _Batch:
        wanted = {self._own(record) for record in records if self.out.wants(record)}
        if disturbance:  # of all records, so that it does not depend on which of them are saved
            wanted |= set(self._unsteered(records).values())
        return _Batch(records, wanted)

    def _records(self, batch: _Batch, kls: Sequence[float]) -> Iterator[tuple[int, Generation, float]]:
        for record, kl in zip(batch.records, kls or [math.nan] * len(batch.records), strict=True):
            if self.out.wants(record):
                yield record, batch.made[self._own(record)], kl

    def _kls(self, some: list[tuple[_Batch, int]]) -> list[float]:
        """Of records of one batch."""
        batch = some[0][0]
        unsteered = self._unsteered(batch.records)
        places = [self._place(record) for _, record in some]
        return trajectory_kls(
            self.lm,
            [self.requests[problem].prompt for problem, _ in places],
            [self.vectors[condition] for _, condition in places],
            [batch.made[unsteered[problem]].token_ids for problem, _ in places],
            steer_prompt=self.steer_prompt,
        )

    def _unsteered(self, records: list[int]) -> dict[int, _Asked]:
        """The unsteered program of each problem that the records are of."""
        none, firsts = list(self.vectors).index(None), dict[int, int]()
        for record in records:
            firsts.setdefault(self._place(record)[0], record)
        return {problem: _Asked(record, none) for problem, record in firsts.items()}

    def _own(self, record: int) -> _Asked:
        return _Asked(record, self._place(record)[1])

    def _place(self, record: int) -> tuple[int, int]:
        """Number of the problem and of the condition."""
        return divmod(record - self.first, len(self.vectors))
