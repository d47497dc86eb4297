"""Programs that a model writes, judged and kept as records: the frame of every phase that generates.

1. A batch of programs is generated; the program is taken from each text and handed to the sandbox.
2. The sandbox judges in processes of its own while the next batch is generated.
3. Then the records are kept and saved. A stop waits for the programs that are being judged.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np

from common.errors import ArtifactMismatchError
from common.model.generation import Generation, check_prompts_fit, generate
from common.model.language_model import LanguageModel
from common.model.loading import load_model
from common.model.memory import FittingParts, batch_bytes
from common.model.token_meter import TokenWork
from common.phases.context import RunContext
from common.programs.expectations import expectations
from common.programs.isolation import sandbox_of
from common.programs.settings import SolutionConfig, WritingConfig
from common.programs.solutions import Solution, Task, record_rows, record_tensors, submit
from common.progress import Progress
from common.runs.checkpoints import Rows
from common.runs.pace import pace_file, telling
from common.runs.records import RecordWriter
from common.sandbox import Sandbox

Made = TypeVar("Made")  # of one program
Earlier = dict[int, dict[str, Any]]  # task_id -> row of phase 1
Kept = tuple[Rows, dict[str, np.ndarray]]  # of one record


@dataclass(frozen=True)
class Draft:
    """A program that is generated and not judged yet; `record` makes its rows and arrays, once it is."""

    problem: dict[str, Any]
    generation: Generation
    record: Callable[[Solution], Kept]


@dataclass(frozen=True)
class Writer(Generic[Made]):
    """What writes the programs of a batch of records, and how many tokens the prompt of each record has.

    `n_bytes` is what writing takes besides the weights and the batch itself. Lengths are those of the records from
    `first` on: others are not written now.
    """

    write: Callable[[list[int]], Sequence[Made]]
    prompt_lengths: Sequence[int]
    n_bytes: int = 0
    first: int = 0


def write_programs(
    ctx: RunContext[WritingConfig],
    out: RecordWriter,
    model: str,
    begin: Callable[[LanguageModel], Writer[Draft]],
    earlier: Earlier | None = None,
) -> None:
    """Compute the records of `out` that are not saved yet.

    `begin` is given the model once it is loaded. A batch that memory does not suffice for is written in parts.
    `earlier`: as in `submit`, by problem.
    """
    config = ctx.config
    with sandbox_of(config, ctx.log) as sandbox:
        for line in expectations(ctx):
            ctx.log.info("%s", line)
        ctx.log.info("loading %s", model)
        lm = load_model(model, ctx.device, config.dtype, config.threads, revision=config.revision_of(model))
        writer = begin(lm)
        lengths, first = writer.prompt_lengths, writer.first
        write = parts_that_fit(ctx, lm, writer)
        out.process |= {"model": lm.describe(), "sandbox": sandbox.describe()}
        wanted = [length for index, length in enumerate(lengths, first) if out.wants(index)]
        work = TokenWork(lm.meter, len(wanted), sum(wanted), config.max_new_tokens)
        with _judged_meanwhile(ctx, out, sandbox, earlier or {}, work) as hand_over:
            for batch in out.batches(config.batch_size, lengths, first):
                work.begin([lengths[index - first] for index in batch])
                drafts = write(batch)
                hand_over({i: draft for i, draft in zip(batch, drafts, strict=True) if out.wants(i)})


def parts_that_fit(
    ctx: RunContext[WritingConfig], lm: LanguageModel, writer: Writer[Draft]
) -> FittingParts[int, Draft]:
    """`writer.write`, in parts where memory does not suffice for a batch."""
    n_new = ctx.config.max_new_tokens

    def length(index: int) -> int:
        return writer.prompt_lengths[index - writer.first]

    def width(part: list[int]) -> int:
        return max(map(length, part))

    return FittingParts(
        writer.write,
        size=lambda part: len(part) * (width(part) + n_new),
        expected=lambda part: batch_bytes(lm.model, len(part), width(part), n_new) + writer.n_bytes,
        name=lambda index: f"record {index}, a prompt of {length(index)} tokens,",
        device=lm.device,
        log=ctx.log,
    )


@contextmanager
def _judged_meanwhile(
    ctx: RunContext[WritingConfig], out: RecordWriter, sandbox: Sandbox, earlier: Earlier, work: TokenWork
) -> Iterator[Callable[[dict[int, Draft]], None]]:
    """Gives what takes a batch of drafts: it has them judged, and keeps the records of the batch before."""
    waiting: dict[int, tuple[Draft, Solution]] = {}

    def keep() -> None:
        labels = []
        for index in list(waiting):
            draft, solution = waiting[index]
            out.append(index, *draft.record(solution))
            labels.append(solution.label)
            del waiting[index]  # kept once, whatever goes wrong with the next
        out.process["sandbox"] = sandbox.describe()
        work.n_kept += len(labels)
        progress.add(labels)

    def hand_over(drafts: dict[int, Draft]) -> None:
        known = {i: earlier.get(draft.problem["task_id"]) for i, draft in drafts.items()}
        judged = {i: (d, submit(sandbox, d.problem, d.generation, known[i])) for i, d in drafts.items()}
        keep()
        waiting.update(judged)

    labels = [row["label"] for row in out.saved_rows]
    # A stop that comes while the last programs are judged waits for them, as it does between batches.
    with Progress(out.end - out.start + 1, labels, ctx.log, work=work) as progress, ctx.stop.finishing_batches():
        tell = telling(pace_file(out.path), lambda: work.pace)

        def on_change() -> None:
            progress.tick()
            tell()

        work.meter.on_change = on_change
        try:
            yield hand_over
        except KeyboardInterrupt:  # at once: what is judged already is kept
            for index in [index for index, (_, solution) in waiting.items() if not solution.is_judged]:
                del waiting[index]
            raise
        finally:
            keep()
            out.save()
            pace_file(out.path).unlink(missing_ok=True)


def write_solutions(
    ctx: RunContext[SolutionConfig],
    out: RecordWriter,
    tasks: Sequence[Task],
    config: SolutionConfig,
    positions: Sequence[str] = (),
    *,
    record: Callable[[int, Task, Solution], Kept] | None = None,
    earlier: Earlier | None = None,
    shortest_first: bool = False,
) -> None:
    """Compute the records of `out` that are not saved yet: record i is the solution of `tasks[i]`.

    `positions` names the prompt tokens whose residual stream is kept. `record` says what is kept of a solution; unless
    given, what phase 1 keeps. `shortest_first` numbers the records by the length of their prompts.
    """
    record = record or (lambda _index, task, solution: _phase_1_record(out, task, solution))

    def begin(lm: LanguageModel) -> Writer[Draft]:
        nonlocal tasks
        lengths = lengths_of(lm, tasks)
        if shortest_first:
            tasks, lengths = by_prompt_length(tasks, lengths)
        check_same_tasks(ctx, out, tasks)

        def write(batch: list[int]) -> list[Draft]:
            made = _generate(lm, [tasks[index] for index in batch], config, positions)
            return [
                Draft(tasks[i].problem, one, lambda solution, i=i: record(i, tasks[i], solution))
                for i, one in zip(batch, made, strict=True)
            ]

        return Writer(write, lengths)

    write_programs(ctx, out, config.model, begin, earlier)


def lengths_of(lm: LanguageModel, tasks: Sequence[Task]) -> list[int]:
    """Tokens of each task's prompt; every prompt is read once. Raises: ConfigError, as `check_prompts_fit`."""
    distinct = {task.request.prompt.text: task.request for task in tasks}
    length_of = dict(zip(distinct, check_prompts_fit(lm, list(distinct.values())), strict=True))
    return [length_of[task.request.prompt.text] for task in tasks]


def by_prompt_length(tasks: Sequence[Task], lengths: Sequence[int]) -> tuple[list[Task], list[int]]:
    """The tasks of each temperature by the number of tokens in their prompts, which leaves batches little padding.

    Measured on the model organism, batches of 64: 0.69 of the time that the order of the dataset takes.
    """
    order = sorted(range(len(tasks)), key=lambda i: (tasks[i].temperature, lengths[i]))
    return [tasks[i] for i in order], [lengths[i] for i in order]


def check_same_tasks(ctx: RunContext[SolutionConfig], out: RecordWriter, tasks: Sequence[Task]) -> None:
    """Hold that what is saved is of the tasks that have its numbers now: another tokenizer may order prompts otherwise.

    Raises: ArtifactMismatchError.
    """
    for index, tables in sorted(out.saved_records.items()):
        task, row = tasks[index], next(iter(tables.values()))
        then, now = row["task_id"], task.problem["task_id"]
        if (then, row["sample_index"], row["temperature"]) != (now, task.sample_index, task.temperature):
            raise ArtifactMismatchError(
                f"record {index} in {out.path} is of problem {then}, but would be of problem {now} now: the tokenizer "
                f"of {ctx.config.model}, or its package, is another than when the run began\n"
                f"Go on where it began, or start over with: {ctx.again} --fresh"
            )


def _phase_1_record(out: RecordWriter, task: Task, solution: Solution) -> Kept:
    rows = record_rows(task, solution)
    grading = {name: rows["grading.parquet"][name] for name in out.handoff.columns("grading.parquet")}
    return {**rows, "grading.parquet": grading}, record_tensors(solution.generation)


def _generate(
    lm: LanguageModel, tasks: list[Task], config: SolutionConfig, positions: Sequence[str]
) -> list[Generation]:
    """The solutions of one batch; tasks of different temperatures are generated apart."""
    generations = []
    for temperature, group in itertools.groupby(tasks, key=lambda task: task.temperature):
        requests = [task.request for task in group]
        limit = config.max_new_tokens
        generations += generate(lm, requests, max_new_tokens=limit, temperature=temperature, positions=positions)
    return generations
