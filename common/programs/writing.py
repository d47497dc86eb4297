"""Programs that a model writes, judged and kept as records: the frame of every phase that generates.

1. The prompts of a batch are read; its programs go on from there, beside those of other batches that are in flight.
2. A program that has ended is handed to the sandbox, which judges in processes of its own meanwhile.
3. What is judged is kept, and saved whenever another batch begins, or every ten seconds. A stop begins no other, and
   finishes these.

What one program is called on its way: a `Request` (problem, prompt, seed); a `Row` of the passes that write it; a
`Generation` (its text and tokens); a `Draft` (with what makes its record); a `Solution` (its code, handed to the
sandbox; then its verdict); a record (a row in each table, and arrays).

From a row of phase 0's table to one of phase 1's, in the order of the calls:

    request_for      solutions.py: prompt and seed
    write_solutions  here: shortest prompts first
    write_programs   here: loads the model and the sandbox
      rows_in_flight in_flight.py: as many at a time as memory holds
        read_group   common/model/generation.py: the residual stream of the prompts
        write_rows   the same: a token of every row in each pass, with its log-probability
          has_ended  common/model/rows.py: at the end of sequence, at a limit, or where solution_end finds it complete
      submit         solutions.py: extract_program (common/problems/extraction.py), then to the sandbox's processes
      keep           here, once it is judged: make_record, which in phase 1 is phase_1_record, of record_rows and
                     record_tensors (solutions.py)
        append       common/runs/records.py: to the next part on disk; leaving the `with` block joins all parts

A run that was stopped is opened again by ctx.write() (common/runs/target_folder.py), and passes over what it holds
(`out.wants`).
"""

import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from common.errors import ArtifactMismatchError
from common.model.generation import Group, check_prompts_fit, read_group
from common.model.language_model import LanguageModel
from common.model.loading import load_model
from common.model.rows import Generation, Request
from common.model.token_meter import TokenWork
from common.phases.context import RunContext
from common.programs.expectations import expectations
from common.programs.in_flight import RowLimit, rows_in_flight
from common.programs.isolation import sandbox_of
from common.programs.settings import SolutionConfig, WritingConfig
from common.programs.solutions import Solution, record_rows, record_tensors, submit
from common.progress import Progress
from common.runs.checkpoints import RecordRows
from common.runs.pace import pace_file, telling
from common.runs.records import RecordWriter
from common.sandbox import Sandbox
from common.stopping import Stopped

SAVE_EVERY_S = 10.0
MOST_WAITING = 256  # programs that are not judged yet; the model waits for the sandbox beyond
READS_PER_BATCH = 4

Earlier = dict[int, dict[str, Any]]  # task_id -> row of phase 1
Kept = tuple[RecordRows, dict[str, np.ndarray]]  # of one record


@dataclass(frozen=True)
class Draft:
    """A program that is generated and not judged yet; `make_record` makes its rows and arrays, once it is.

    `problem` holds the tests.
    """

    problem: Mapping[str, Any]
    generation: Generation
    make_record: Callable[[Solution], Kept]


WriteAll = Callable[[Iterator[list[int]], RowLimit[int]], Iterator[tuple[int, Draft]]]


@dataclass(frozen=True)
class ProgramWriter:
    """What writes the programs of a phase's records, and how many tokens the prompt of each record has.

    `write` takes batches of records, when it can begin another, and gives each record's draft once it is written.
    `n_bytes` is what writing takes besides the weights and the rows. Lengths are those of the records from `first` on:
    others are not written now. `read_together` is the most records of a batch, by default as many as are written at a
    time.
    """

    write: WriteAll
    prompt_lengths: Sequence[int]
    n_bytes: int = 0
    first: int = 0
    read_together: int | None = None


def batch_by_batch(write: Callable[[list[int]], Sequence[Draft]]) -> WriteAll:
    """For what is written together or not at all: a batch begins when the one before has ended."""

    def write_all(batches: Iterator[list[int]], limit: RowLimit[int]) -> Iterator[tuple[int, Draft]]:
        fitting = limit.fitting(write)
        for batch in batches:
            yield from zip(batch, fitting(batch), strict=True)

    return write_all


def write_programs(
    ctx: RunContext[WritingConfig],
    out: RecordWriter,
    model: str,
    begin: Callable[[LanguageModel], ProgramWriter],
    earlier: Earlier | None = None,
) -> None:
    """Compute the records of `out` that are not saved yet.

    `begin` is given the model once it is loaded. `earlier`: as in `submit`, by problem.
    Raises: Stopped, when a stop was asked for and what was in flight is saved.
    """
    config = ctx.config
    with sandbox_of(config, ctx.log) as sandbox:
        for line in expectations(ctx):
            ctx.log.info("%s", line)
        ctx.log.info("loading %s", model)
        lm = load_model(model, ctx.device, config.dtype, config.threads, revision=config.revision_of(model))
        writer = begin(lm)
        lengths, first = writer.prompt_lengths, writer.first
        out.process |= {"model": lm.describe(), "sandbox": sandbox.describe()}
        wanted = [length for index, length in enumerate(lengths, first) if out.wants(index)]
        work = TokenWork(lm.meter, len(wanted), sum(wanted), config.max_new_tokens)
        stopped: list[Stopped] = []

        def batches() -> Generator[list[int]]:
            try:
                for batch in out.batches(writer.read_together or config.batch_size, lengths, first):
                    work.begin([lengths[index - first] for index in batch if out.wants(index)])
                    yield batch
            except Stopped as stop:
                stopped.append(stop)

        with (
            _judged_meanwhile(ctx, out, sandbox, earlier or {}, work) as hand_over,
            closing(batches()) as begun,
        ):
            for index, draft in writer.write(begun, row_limit(ctx, lm, writer)):
                if out.wants(index):
                    hand_over(index, draft)
        if stopped:
            raise stopped[0]


def row_limit(ctx: RunContext[WritingConfig], lm: LanguageModel, writer: ProgramWriter) -> RowLimit[int]:
    """How many records are written at a time."""

    def length(index: int) -> int:
        return writer.prompt_lengths[index - writer.first]

    return RowLimit(
        lm,
        ctx.config.batch_size,
        max_new_tokens=ctx.config.max_new_tokens,
        length=length,
        name=lambda index: f"record {index}, a prompt of {length(index)} tokens,",
        log=ctx.log,
        n_bytes=writer.n_bytes,
    )


@contextmanager
def _judged_meanwhile(
    ctx: RunContext[WritingConfig], out: RecordWriter, sandbox: Sandbox, earlier: Earlier, work: TokenWork
) -> Iterator[Callable[[int, Draft], None]]:
    """Gives `hand_over(index, draft)`: that hands a draft to the sandbox, and keeps all that are judged by then."""
    waiting: dict[int, tuple[Draft, Solution]] = {}

    def keep(n_left: int) -> None:
        """Keep those that are judged; wait for the oldest until at most `n_left` are left."""
        labels = []
        for index in list(waiting):
            draft, solution = waiting[index]
            if len(waiting) > n_left or solution.future.done():  # also where judging failed: that is told at once
                out.append(index, *draft.make_record(solution))
                labels.append(solution.label)
                del waiting[index]  # kept once, whatever goes wrong with the next
        if labels:
            out.process["sandbox"] = sandbox.describe()
            work.n_kept += len(labels)
            progress.add(labels)

    def hand_over(index: int, draft: Draft) -> None:
        known = earlier.get(draft.problem["task_id"])
        waiting[index] = draft, submit(sandbox, draft.problem, draft.generation, known)
        keep(MOST_WAITING)

    labels = [row["label"] for row in out.saved_rows]
    # A stop that comes while the last programs are judged waits for them, as it does for those that are written.
    with Progress(out.end - out.start + 1, labels, ctx.log, work=work) as progress, ctx.stop.finishing_batches():
        tell = telling(pace_file(out.path), lambda: work.pace)

        def on_change() -> None:
            nonlocal saved_at
            progress.tick()
            tell()
            if time.monotonic() - saved_at > SAVE_EVERY_S:  # the last rows may go on for long, and no batch begins
                keep(MOST_WAITING)
                out.save()
                saved_at = time.monotonic()

        saved_at = time.monotonic()

        work.meter.on_change = on_change
        try:
            yield hand_over
        except KeyboardInterrupt:  # at once: what is judged already is kept
            for index in [index for index, (_, solution) in waiting.items() if not solution.is_judged]:
                del waiting[index]
            raise
        finally:
            try:
                keep(0)
            finally:
                out.save()
                pace_file(out.path).unlink(missing_ok=True)


def write_solutions(
    ctx: RunContext[SolutionConfig],
    out: RecordWriter,
    requests: Sequence[Request],
    config: SolutionConfig,
    positions: Sequence[str] = (),
    *,
    table_of: Callable[[float], str] = lambda _temperature: "dataset.parquet",
    record: Callable[[int, Request, Solution], Kept] | None = None,
    earlier: Earlier | None = None,
    shortest_first: bool = False,
) -> None:
    """Compute the records of `out` that are not saved yet: record i is the solution of `requests[i]`.

    `positions` names the prompt tokens whose residual stream is kept. `record` says what is kept of a solution; unless
    given, what phase 1 keeps, in the table of its temperature. `shortest_first` numbers the records by the length of
    their prompts.
    """

    def phase_1_record(_index: int, request: Request, solution: Solution) -> Kept:
        row, grading = record_rows(request, solution)
        grading = {name: grading[name] for name in out.schema.columns("grading.parquet")}
        return {table_of(request.temperature): row, "grading.parquet": grading}, record_tensors(solution.generation)

    def begin(lm: LanguageModel) -> ProgramWriter:
        nonlocal requests
        lengths = lengths_of(lm, requests)
        if shortest_first:
            requests, lengths = by_prompt_length(requests, lengths)
        check_same_requests(ctx, out, requests)

        def read(batch: list[int]) -> Group:
            asked = {index: requests[index] for index in batch}
            group = read_group(lm, asked, max_new_tokens=config.max_new_tokens, positions=positions)
            return group.only(out.wants)

        def write(batches: Iterator[list[int]], limit: RowLimit[int]) -> Iterator[tuple[int, Draft]]:
            for row in rows_in_flight(lm, batches, limit, read):
                kept = partial(record or phase_1_record, row.key, row.request)
                yield row.key, Draft(row.request.problem, row.result, kept)

        # A quarter: little padding, and what reading takes for a while is small beside the cache.
        together = max(1, config.batch_size // READS_PER_BATCH)
        return ProgramWriter(write, lengths, read_together=together)

    write_programs(ctx, out, config.model, begin, earlier)


def lengths_of(lm: LanguageModel, requests: Sequence[Request]) -> list[int]:
    """Tokens of each prompt; equal ones are read once. Raises: ConfigError, as `check_prompts_fit`."""
    distinct = {request.prompt.text: request for request in requests}
    length_of = dict(zip(distinct, check_prompts_fit(lm, list(distinct.values())), strict=True))
    return [length_of[request.prompt.text] for request in requests]


def by_prompt_length(requests: Sequence[Request], lengths: Sequence[int]) -> tuple[list[Request], list[int]]:
    """The requests of each temperature by the number of tokens in their prompts, which leaves little padding."""
    order = sorted(range(len(requests)), key=lambda i: (requests[i].temperature, lengths[i]))
    return [requests[i] for i in order], [lengths[i] for i in order]


def check_same_requests(ctx: RunContext[SolutionConfig], out: RecordWriter, requests: Sequence[Request]) -> None:
    """Hold that what is saved is of the requests that have its numbers now: another tokenizer may order them otherwise.

    Raises: ArtifactMismatchError.
    """
    for index, tables in sorted(out.saved_records.items()):
        request, row = requests[index], next(iter(tables.values()))
        then, now = row["task_id"], request.task_id
        if (then, row["sample_index"], row["temperature"]) != (now, request.sample_index, request.temperature):
            raise ArtifactMismatchError(
                f"record {index} in {out.path} is of problem {then}, but would be of problem {now} now: the tokenizer "
                f"of {ctx.config.model}, or its package, is another than when the run began\n"
                f"Go on where it began, or start over with: {ctx.again} --fresh"
            )
